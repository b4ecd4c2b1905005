// The served form: models and records come from the page's own server.
async function fetched(path, body) {
  const key = $("ask-key").value,
    headers = {
      ...(body ? { "Content-Type": "application/json" } : {}),
      ...(key ? { Authorization: `Bearer ${key}` } : {}),
    };
  const answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  const found = await answer.json().catch(() => ({}));
  if (answer.status === 401 || answer.status === 403) $("ask-key-label").hidden = false;
  if (!answer.ok) throw new Error((found.error && found.error.message) || `the server answered ${answer.status}`);
  return found;
}
function tell(text, wrong) {
  const s = $("status");
  s.hidden = !text;
  s.textContent = text;
  s.className = wrong ? "wrong" : "";
}

async function listModels() {
  const found = await fetched("/v1/models"),
    names = found.data.map((one) => one.id);
  const option = (name, value = name) => {
    const o = make("option", "", name);
    o.value = value;
    return o;
  };
  $("ask-first").replaceChildren(...names.map((name) => option(name)));
  $("ask-second").replaceChildren(option("no other", ""), ...names.map((name) => option(name)));
  if (names.length > 1) $("ask-second").value = names[1];
}
async function ask(event) {
  event.preventDefault();
  const text = $("ask-text").value,
    button = $("ask").querySelector("button");
  button.disabled = true;
  tell("Looking at every byte …");
  try {
    if (!$("ask-first").value) await listModels();
    const names = [$("ask-first").value, $("ask-second").value].filter(Boolean);
    const records = [];
    for (const name of names) records.push((await fetched("/v1/xray", { model: name, text })).xray);
    tell("");
    open(records);
  } catch (error) {
    tell(`${error.message}`, true);
  } finally {
    button.disabled = false;
  }
}
