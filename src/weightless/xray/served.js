// The served form: models and records come from the page's own server.
async function fetched(path, body) {
  const key = $("ask-key").value,
    headers = {
      ...(body ? { "Content-Type": "application/json" } : {}),
      ...(key ? { Authorization: `Bearer ${key}` } : {}),
    };
  const answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers }).catch(
    () => {
      throw new Error("The server does not answer: is it still running?");
    },
  );
  const found = await answer.json().catch(() => ({}));
  if (answer.status === 401) throw new Error("This is not the key of this server.");
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
  for (const id of ["ask-first", "ask-second"]) $(id).parentElement.hidden = false;
}
function ask(event) {
  event.preventDefault();
  look();
}
// Who opens the page sees its own text at once, and need not know what to press.
async function look() {
  const text = $("ask-text").value,
    button = $("ask").querySelector("button"),
    isLocked = !$("ask-key-label").hidden && !$("ask-key").value;
  if (!text || isLocked) {
    tell(isLocked ? "This server wants a key: type it in and press X-ray." : "Write a word or two first.", true);
    $(isLocked ? "ask-key" : "ask-text").focus();
    return;
  }
  button.disabled = true;
  try {
    if (!$("ask-first").value) await listModels();
    const names = [$("ask-first").value, $("ask-second").value].filter(Boolean);
    const records = [];
    for (const name of names) {
      tell(`Looking at every byte of ${name} …`);
      records.push((await fetched("/v1/xray", { model: name, text })).xray);
    }
    tell("");
    open(records);
  } catch (error) {
    tell(error.message, true);
  } finally {
    button.disabled = false;
  }
}
