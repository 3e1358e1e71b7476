// Starts GraphiQL on this server: tabs, the token and the transport of subscriptions.
"use strict";

const settings = JSON.parse(document.getElementById("settings").textContent);
const authorization = settings.token ? { authorization: `Bearer ${settings.token}` } : {};
const shownHeaders = JSON.stringify(authorization, null, 2);

// The Headers tab wins; without one (GraphiQL forgets headers on reload) the page's own token is used.
function headersOf(options) {
  const given = options?.headers ?? {};
  const named = Object.keys(given).some((name) => name.toLowerCase() === "authorization");
  return named ? given : { ...authorization, ...given };
}

function isSubscription(document, name) {
  const operations = (document?.definitions ?? []).filter((part) => part.kind === "OperationDefinition");
  const chosen = name ? operations.find((part) => part.name?.value === name) : operations[0];
  return chosen?.operation === "subscription";
}

// A connection for each subscription: browsers cannot set headers on a WebSocket, so the
// headers of the tab it was started from travel in connection_init.
function subscribe(request, headers) {
  const client = graphqlWs.createClient({
    url: new URL("/graphql", location.href).href.replace(/^http/, "ws"),
    connectionParams: headers,
    retryAttempts: 5,
  });
  return client.iterate(request);
}

async function fetcher(request, options) {
  const headers = headersOf(options);
  if (isSubscription(options?.documentAST, request.operationName)) return subscribe(request, headers);
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { accept: "application/graphql-response+json", "content-type": "application/json", ...headers },
    body: JSON.stringify(request),
  });
  return response.json();
}

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    fetcher,
    defaultHeaders: shownHeaders,
    defaultEditorToolsVisibility: "variables",
    defaultTabs: settings.examples.map((example) => ({
      query: example.query,
      variables: example.variables,
      headers: shownHeaders,
    })),
  }),
);
