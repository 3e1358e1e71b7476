// Follows one subscription with the client that is named, as its users write it, and prints each result as a
// line of JSON. node follow.mjs CLIENT BASE TOKEN QUERY VARIABLES COUNT; ends after COUNT results.
import process from "node:process";

const [name, base, token, query, variablesText, countText] = process.argv.slice(2);
const variables = JSON.parse(variablesText);
const count = Number(countText);
const http = `${base}/graphql`;
const socket = `${base.replace("http", "ws")}/graphql`;
const authorization = `Bearer ${token}`;
let seen = 0;

function show(result) {
  console.log(JSON.stringify(result));
  seen += 1;
  if (seen === count) process.exit(0);
}

function failed(error) {
  console.log(JSON.stringify({ failed: error, message: String(error?.message ?? error) }));
  process.exit(1);
}

async function webSocketClient() {
  const { createClient } = await import("graphql-ws");
  const { default: WebSocket } = await import("ws");
  globalThis.WebSocket ??= WebSocket; // as in a browser: Apollo's link asks what kind of error it was given
  return createClient({ url: socket, webSocketImpl: WebSocket, connectionParams: { authorization } });
}

async function apollo(link) {
  const { ApolloClient, InMemoryCache, gql } = await import("@apollo/client");
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  client.subscribe({ query: gql(query), variables, fetchPolicy: "no-cache" }).subscribe({
    next: (result) => (result.error ? failed(result.error) : show({ data: result.data })),
    error: failed,
  });
}

async function urql(...exchanges) {
  const { Client } = await import("@urql/core");
  const client = new Client({
    url: http,
    fetchSubscriptions: true,
    preferGetMethod: false,
    fetchOptions: { headers: { authorization } },
    exchanges,
  });
  client.subscription(query, variables).subscribe((result) => {
    if (result.error) failed(result.error);
    else show({ data: result.data });
  });
}

const clients = {
  "graphql-ws": async () => {
    for await (const result of (await webSocketClient()).iterate({ query, variables })) show(result);
  },
  "graphql-sse": async () => {
    const { createClient } = await import("graphql-sse");
    const client = createClient({ url: http, singleConnection: false, headers: { authorization } });
    for await (const result of client.iterate({ query, variables })) show(result);
  },
  "apollo-websocket": async () => {
    const { GraphQLWsLink } = await import("@apollo/client/link/subscriptions");
    await apollo(new GraphQLWsLink(await webSocketClient()));
  },
  "apollo-multipart": async () => {
    const { HttpLink } = await import("@apollo/client/link/http");
    await apollo(new HttpLink({ uri: http, headers: { authorization } }));
  },
  "urql-fetch": async () => {
    const { fetchExchange } = await import("@urql/core");
    await urql(fetchExchange);
  },
  "urql-websocket": async () => {
    const { subscriptionExchange } = await import("@urql/core");
    const client = await webSocketClient();
    const forwardSubscription = (request) => ({
      subscribe: (sink) => ({
        unsubscribe: client.subscribe({ query: request.query ?? "", variables: request.variables }, sink),
      }),
    });
    await urql(subscriptionExchange({ forwardSubscription }));
  },
};

await clients[name]().catch(failed);
