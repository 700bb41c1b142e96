// Resolving, archiving and reopening issues: shown at once, undone if the server refuses, with a way back.
import { plural } from "../../dom/format.js";
import { send } from "../../shell/api.js";
import { say } from "../../shell/dialogs.js";
import { api } from "../../shell/session.js";

const WORDS = { resolved: "Resolved", resolvedInNextRelease: "Resolved in the next release", ignored: "Archived", unresolved: "Opened again" };

function put(ids, status) {
  return send("PUT", api("/issues/"), { id: ids }, { status });
}

// `shown(status)` draws the change. `again` is called after the server has taken it or its undoing.
export async function changeIssues(issues, status, { shown, again }) {
  const before = new Map(issues.map((issue) => [issue.id, issue.status]));
  const back = () => issues.forEach((issue) => shown(issue, before.get(issue.id)));
  issues.forEach((issue) => shown(issue, status));
  try {
    await put([...before.keys()], status);
  } catch (error) {
    back();
    say(`Not changed. ${error.message}`);
    return;
  }
  again?.();
  const which = issues.length === 1 ? issues[0].shortId : plural(issues.length, "issue");
  const later = status === "resolved" ? " It opens again if it happens once more." : "";
  say(`${WORDS[status]}: ${which}.${issues.length === 1 ? later : ""}`, {
    undo: async () => {
      back();
      try {
        for (const old of new Set(before.values())) {
          await put([...before].filter(([, was]) => was === old).map(([id]) => id), old);
        }
      } catch (error) {
        say(`Not undone. ${error.message}`);
      }
      again?.();
    },
  });
}
