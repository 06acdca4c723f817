"use strict";
// Keeps the figures of an open page up to date. Without it the page renews itself now and then.
(() => {
  const body = document.body;
  const pollMs = 1000 * Number(body.dataset.poll);
  const away = document.getElementById("away");
  const aloud = document.getElementById("aloud");
  const LONGEST_MS = 60000;
  let milestone = body.dataset.milestone;
  let failures = 0;
  let timer = 0;

  const show = (live) => {
    for (const place of document.querySelectorAll("[data-live]")) {
      const text = live[place.dataset.live];
      if (typeof text !== "string") continue;
      if (place instanceof HTMLProgressElement) place.value = Number(text);
      else if (place.textContent !== text) place.textContent = text;
    }
  };

  const take = (news) => {
    if (news.key !== body.dataset.key) {
      location.reload();
      return false;
    }
    show(news.live);
    if (news.milestone !== milestone) {
      milestone = news.milestone;
      aloud.textContent = news.spoken;
    }
    return true;
  };

  const ask = async () => {
    let goOn = true;
    try {
      const answer = await fetch(body.dataset.status, {
        cache: "no-store", headers: { Accept: "application/json" }, signal: AbortSignal.timeout(8000),
      });
      const text = await answer.text();
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      goOn = take(JSON.parse(text));
      failures = 0;
    } catch (error) {
      failures += 1; // said to the driver after the second one, and tried again ever more rarely
      console.warn(error);
    }
    away.hidden = failures < 2;
    if (goOn) wait();
  };

  const wait = () => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(ask, Math.min(LONGEST_MS, pollMs * 2 ** failures));
  };

  // A second press does nothing until the answer is there, or the driver comes back.
  const forms = [...document.forms];
  for (const form of forms) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
      form.classList.add("sent");
    });
  }
  addEventListener("pageshow", () => forms.forEach((form) => {
    delete form.dataset.sent;
    form.classList.remove("sent");
  }));

  if (pollMs) {
    document.addEventListener("visibilitychange", () => {
      clearTimeout(timer);
      if (!document.hidden) ask();
    });
    wait();
  }
})();
