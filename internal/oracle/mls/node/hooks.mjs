// Corrects ts-mls and what it uses while Node loads them; nothing on disk
// changes. Each correction names one file by its hash and one text that must
// occur exactly as often as told, so that no other version is half corrected.
import { createHash } from "node:crypto"
import { readFile } from "node:fs/promises"

let corrections = []

export async function initialize(list) {
  corrections = list
}

export async function load(url, context, nextLoad) {
  const wanted = corrections.filter((c) => url.endsWith("/node_modules/" + c.file))
  if (wanted.length === 0) return nextLoad(url, context)
  let source = await readFile(new URL(url), "utf8")
  const hash = createHash("sha256").update(source).digest("hex")
  for (const c of wanted) {
    if (hash !== c.sha256) throw new Error(`correct ${c.file}: it is not the file that the correction was written for`)
    const parts = source.split(c.find)
    if (parts.length !== c.times + 1) throw new Error(`correct ${c.file}: text occurs ${parts.length - 1} times`)
    source = parts.join(c.replace)
  }
  return { format: "module", source, shortCircuit: true }
}
