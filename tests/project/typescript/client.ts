// What a caller writes with the generated client. It has to compile under `strict`, then it runs
// against the server whose address is its argument.
import createClient from "openapi-fetch";
import type { components, operations, paths } from "./schema.js";

declare const process: { argv: string[] };

type Filter = components["schemas"]["Filter"];
type Code = components["schemas"]["ErrorContent"]["code"];

const nested: Filter = { or: [{ level: 1 }, { not: { tags: ["a", "b"] } }] };
const filters: Filter[] = [
  {},
  nested,
  { topic: "garden", year: [2025, 2026], draft: false },
  { published: { gte: "2026-01-01", lt: "2026-07-01" }, reviewer: { exists: false } },
  { and: [nested, { not: nested }], level: { in: [1, 2] } },
];

// @ts-expect-error A condition is never null.
export const noCondition: Filter = { level: null };
// @ts-expect-error There is no such operator.
export const noOperator: components["schemas"]["FilterCondition"] = { ne: 1 };
// @ts-expect-error There is no such code.
export const noCode: Code = "teapot";
// @ts-expect-error Metadata hold no objects.
export const noMetadata: components["schemas"]["Metadata"] = { author: { name: "x" } };
// @ts-expect-error Either ids or filters, and some of them.
export const noDeletion: components["schemas"]["DeleteDocumentsRequest"] = { ids: 7 };

// The names of operations are for people to write.
export type Searched = operations["search"]["responses"][200]["content"]["application/json"];
export type Followed = operations["follow_job"]["responses"][200]["content"]["text/event-stream"];
export type NotFollowed = operations["follow_job"]["responses"][404]["content"]["application/json"];

function tryAgain(code: Code): boolean {
  switch (code) {
    case "overloaded":
    case "not_ready":
      return true;
    default:
      return false;
  }
}

function holds(fact: boolean, what: string): asserts fact {
  if (!fact) throw new Error(what);
}

const client = createClient<paths>({ baseUrl: process.argv[2] ?? "" });

for (const one of filters) {
  const { data, error } = await client.POST("/search", {
    body: { query: "how much sun", top_k: 3, filters: one },
  });
  if (error) throw new Error(`${error.error.code}: ${error.error.message}`);
  const searched: Searched = data;
  for (const hit of searched.hits) {
    const { id, confidence, probability } = hit;
    holds(id.length > 0 && confidence.length > 0, "a hit has an id and a confidence");
    holds(probability === null || probability <= 1, "a probability is at most 1");
  }
}

const stored = await client.PUT("/documents/{id}", {
  params: { path: { id: "a/b" }, query: { wait: true }, header: { "If-None-Match": "*" } },
  body: { text: "A note.", metadata: { level: 1, tags: ["x"], draft: null } },
});
holds(stored.data?.id === "a/b" && stored.response.status === 201, "a document is stored");
holds(stored.response.headers.get("ETag") === `"${stored.data.version}"`, "with its version");

const again = await client.PUT("/documents/{id}", {
  params: { path: { id: "a/b" }, header: { "If-None-Match": "*" } },
  body: { text: "Another note." },
});
holds(again.error?.error.code === "precondition_failed", "once only");
holds(!tryAgain(again.error.error.code), "and never again");

const listed = await client.GET("/documents", {
  params: { query: { limit: 5, filters: JSON.stringify(nested) } },
});
holds((listed.data?.documents ?? []).some((one) => one.id === "a/b"), "it is listed");

const deleted = await client.POST("/documents/delete", { body: { ids: ["a/b"] } });
holds(deleted.data?.deleted === 1, "it is deleted");

const gone = await client.GET("/jobs/{id}/events", {
  params: { path: { id: "none" } },
  parseAs: "json",
});
const notFollowed: NotFollowed | undefined = gone.error as NotFollowed | undefined;
holds(notFollowed?.error.code === "not_found", "there is no such job");
console.log("done");
