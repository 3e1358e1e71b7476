// The audits of graphql-http against a served /graphql; prints one JSON list of id, name, status and reason.
import { auditServer } from 'graphql-http';

const [, , url, token] = process.argv;
const results = await auditServer({
  url,
  fetchFn: (input, init = {}) =>
    fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
});
console.log(JSON.stringify(results.map(({ id, name, status, reason }) => ({ id, name, status, reason }))));
