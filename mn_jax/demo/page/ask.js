// Asks the server, one question at a time; errors are for a user to read.

const GONE = "The server does not answer: is mn-jax demo still running?";
const ATTEMPTS = 10;

let last = Promise.resolve();

// Returns the answer to a question, after those before it. What `read` returns
// is posted; it is called when it is its turn, so few files are in memory.
export function ask(path, fields = {}, read = undefined) {
  const answer = last.then(() => answerOf(path, fields, read));
  last = answer.catch(() => {});
  return answer;
}

async function answerOf(path, fields, read) {
  const query = new URLSearchParams(fields).toString();
  const options = read === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: await read(),
  };
  for (let attempt = 1; ; attempt++) {
    let response, value;
    try {
      response = await fetch(query ? `${path}?${query}` : path, options);
      value = await response.json();
    } catch {
      throw new Error(GONE);
    }
    if (response.ok) return value;
    // Another page may keep it busy.
    if (response.status !== 503 || attempt === ATTEMPTS) {
      throw new Error(value.error);
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
