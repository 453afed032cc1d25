// A contestant: a BullMQ worker in Node with Redis, `at_once` jobs at a time. Its processor does what job processors of
// such products do: POST /run, then GET /status every two seconds until the job is over, then keep the picture.
//
// argv[2]: its orders; there `modules` is the folder in which bullmq is installed, `redis` the port of a Redis of its own.

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { createRequire } = require("node:module");

const POLL_MS = 2000;
const OVER = new Set(["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]);
const given = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const { Queue, Worker } = createRequire(path.join(given.modules, "index.js"))("bullmq");
const connection = { host: "127.0.0.1", port: given.redis };
const base = `${given.jobs_url}/${given.endpoint}`;
const headers = { Authorization: `Bearer ${given.api_key}`, "Content-Type": "application/json" };

async function ask(url, options) {
  const answer = await fetch(url, { headers, ...options });
  if (!answer.ok) throw new Error(`${answer.status} from ${url}`);
  return answer.json();
}

async function processor(job) {
  const graph = given.graphs[job.data.number];
  let state = await ask(`${base}/run`, { method: "POST", body: JSON.stringify({ input: { workflow: graph } }) });
  const id = state.id;
  while (!OVER.has(state.status)) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    state = await ask(`${base}/status/${id}`);
  }
  if (state.status !== "COMPLETED") throw new Error(`${id} ended as ${state.status}`);
  const picture = Buffer.from(state.output.images[0].data, "base64");
  await fs.promises.writeFile(path.join(given.folder, `${job.data.number}.png`), picture);
}

async function main() {
  const queue = new Queue("pictures", { connection });
  const worker = new Worker("pictures", processor, { connection, concurrency: given.at_once });
  await Promise.all([queue.waitUntilReady(), worker.waitUntilReady()]);
  const errors = [];
  console.log("ready");
  const lines = readline.createInterface({ input: process.stdin });
  await new Promise((resolve) => lines.once("line", resolve));
  lines.close();
  const begun = performance.now();
  let left = given.graphs.length;
  const over = new Promise((resolve) => {
    const ended = () => --left || resolve();
    worker.on("completed", ended);
    worker.on("failed", (_, error) => { errors.push(String(error)); ended(); });
  });
  await queue.addBulk(given.graphs.map((_, number) => ({ name: "picture", data: { number } })));
  await over;
  const seconds = (performance.now() - begun) / 1000;
  const stored = given.graphs.filter((_, number) => fs.existsSync(path.join(given.folder, `${number}.png`))).length;
  console.log(JSON.stringify({ seconds, stored, errors }));
  process.exit(0);
}

main();
