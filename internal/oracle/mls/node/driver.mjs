// A child process that holds ts-mls clients and groups for the tests. It reads
// one JSON request per line and answers with one line each, in order. Bytes are
// hexadecimal. Arguments name the corrections to apply (see corrections.json).
import { readFile } from "node:fs/promises"
import { register } from "node:module"
import { createInterface } from "node:readline"

const wanted = new Set(process.argv.slice(2))
const all = JSON.parse(await readFile(new URL("corrections.json", import.meta.url), "utf8"))
for (const name of wanted) if (!all.some((c) => c.name === name)) throw new Error("no correction " + name)
register("./hooks.mjs", import.meta.url, { data: all.filter((c) => wanted.has(c.name)) })
const mls = await import("ts-mls")
const { encode } = await import("ts-mls/codec/tlsEncoder.js")
const { ratchetTreeEncoder } = await import("ts-mls/ratchetTree.js")
const encodeTree = encode(ratchetTreeEncoder)

const hex = (b) => Buffer.from(b).toString("hex")
const bytes = (s) => new Uint8Array(Buffer.from(s, "hex"))
const parse = (s) => {
  const [message, end] = mls.decodeMlsMessage(bytes(s), 0) ?? []
  if (message === undefined || end !== s.length / 2) throw new Error("not one MLSMessage")
  return message
}
const message = (m) => hex(mls.encodeMlsMessage({ version: "mls10", ...m }))
const extensions = (list) => (list ?? []).map((e) => ({ extensionType: names[e.type] ?? e.type, extensionData: bytes(e.data) }))
const names = { 1: "application_id", 3: "required_capabilities" }

// Out-of-order delivery and late messages are within these bounds in the tests.
const config = {
  keyRetentionConfig: { retainKeysForGenerations: 64, retainKeysForEpochs: 4, maximumForwardRatchetSteps: 256 },
  lifetimeConfig: { maximumTotalLifetime: 2628000n, validateLifetimeOnReceive: false },
  keyPackageEqualityConfig: mls.defaultKeyPackageEqualityConfig,
  paddingConfig: mls.defaultPaddingConfig, // of application messages
  authService: mls.defaultAuthenticationService,
}

const clients = new Map()
const groups = new Map()
const suites = new Map()

async function suite(id) {
  if (!suites.has(id)) {
    const name = Object.keys(mls.ciphersuites).find((k) => mls.ciphersuites[k] === id)
    suites.set(id, await mls.getCiphersuiteImpl(mls.getCiphersuiteFromName(name)))
  }
  return suites.get(id)
}

// Handshake messages are padded only where no member is on mls-go.
function handshake(g) {
  if (g.cs.name.includes("XWING")) return g.state
  return { ...g.state, clientConfig: { ...config, paddingConfig: { kind: "alwaysPad", paddingLength: 0 } } }
}

function psks(g) {
  const named = {}
  for (const [id, psk] of Object.entries(g.psks)) named[mls.bytesToBase64(bytes(id))] = psk
  return mls.makePskIndex(g.state, named)
}

function proposal(p, g) {
  switch (p.kind) {
    case "add":
      return { proposalType: "add", add: { keyPackage: parse(p.keyPackage).keyPackage } }
    case "remove":
      return { proposalType: "remove", remove: { removed: p.leaf } }
    case "psk":
      return {
        proposalType: "psk",
        psk: { preSharedKeyId: { psktype: "external", pskId: bytes(p.id), pskNonce: g.cs.rng.randomBytes(32) } },
      }
    case "extensions":
      return { proposalType: "group_context_extensions", groupContextExtensions: { extensions: extensions(p.extensions) } }
  }
  if (p.kind === "own") return { proposalType: p.type, proposalData: bytes(p.id) }
  throw new Error("no proposal " + p.kind)
}

async function keyPackage(c, cs = c.cs) {
  const capabilities = { versions: ["mls10"], ciphersuites: [cs.name], extensions: c.own, proposals: c.own, credentials: ["basic"] }
  const credential = { credentialType: "basic", identity: bytes(c.identity) }
  return mls.generateKeyPackageWithKey(credential, capabilities, mls.defaultLifetime, [], c.signer, cs)
}

async function hold(c, state, cs = c.cs) {
  const id = "g" + groups.size
  groups.set(id, { state, cs, psks: c.psks })
  return { group: id, ...(await view(groups.get(id))) }
}

const tree = (state) => hex(encodeTree(state.ratchetTree))

async function view({ state, cs }) {
  const members = []
  const exported = await mls.mlsExporter(state.keySchedule.exporterSecret, "oracle", new TextEncoder().encode("context"), 48, cs)
  state.ratchetTree.forEach((n, i) => {
    if (n?.nodeType === "leaf") members.push({ leaf: i / 2, identity: hex(n.leaf.credential.identity) })
  })
  return {
    epoch: Number(state.groupContext.epoch),
    authenticator: hex(state.keySchedule.epochAuthenticator),
    exported: hex(exported),
    leaf: state.privatePath.leafIndex,
    members,
    active: state.groupActiveState.kind === "active",
  }
}

const ops = {
  async client({ identity, suite: id, own }) {
    const cs = await suite(id)
    clients.set(identity, { identity, cs, signer: await cs.signature.keygen(), psks: {}, offers: [], own: own ?? [] })
    return {}
  },
  async psk({ identity, id, psk }) {
    clients.get(identity).psks[id] = bytes(psk)
    return {}
  },
  async offer({ identity, suite: id }) {
    const c = clients.get(identity)
    const k = await keyPackage(c, id && (await suite(id)))
    c.offers.push(k)
    return { message: message({ wireformat: "mls_key_package", keyPackage: k.publicPackage }) }
  },
  async create({ identity, id }) {
    const c = clients.get(identity)
    const k = await keyPackage(c)
    return hold(c, await mls.createGroup(bytes(id), k.publicPackage, k.privatePackage, [], c.cs, config))
  },
  async join({ identity, welcome }) {
    const c = clients.get(identity)
    const { welcome: w } = parse(welcome)
    let reason = new Error("no key package was offered")
    for (const k of c.offers.reverse()) {
      try {
        const index = psks({ state: undefined, psks: c.psks })
        return await hold(c, await mls.joinGroup(w, k.publicPackage, k.privatePackage, index, c.cs, undefined, undefined, config))
      } catch (e) {
        reason = e
      }
    }
    throw reason
  },
  async joinExternal({ identity, groupInfo, resync }) {
    const c = clients.get(identity)
    const k = await keyPackage(c)
    const gi = parse(groupInfo).groupInfo
    const r = await mls.joinGroupExternal(gi, k.publicPackage, k.privatePackage, resync, c.cs, undefined, config)
    return { ...(await hold(c, r.newState)), message: message({ wireformat: "mls_public_message", publicMessage: r.publicMessage }) }
  },
  async groupInfo({ group }) {
    const { state, cs } = groups.get(group)
    const gi = await mls.createGroupInfoWithExternalPubAndRatchetTree(state, [], cs)
    return { message: message({ wireformat: "mls_group_info", groupInfo: gi }) }
  },
  async propose({ group, proposal: p, open }) {
    const g = groups.get(group)
    const r = await mls.createProposal(handshake(g), open, proposal(p, g), g.cs)
    g.state = { ...r.newState, clientConfig: config }
    return { message: message(r.message) }
  },
  async commit({ group, proposals, open }) {
    const g = groups.get(group)
    const r = await mls.createCommit(
      { state: handshake(g), cipherSuite: g.cs, pskIndex: psks(g) },
      { wireAsPublicMessage: open, extraProposals: proposals.map((p) => proposal(p, g)), ratchetTreeExtension: true },
    )
    g.state = { ...r.newState, clientConfig: config }
    const welcome = r.welcome && message({ wireformat: "mls_welcome", welcome: r.welcome })
    return { ...(await view(g)), message: message(r.commit), welcome }
  },
  // succeed starts a group of some members, or the one that a ReInit announced.
  async succeed({ identity, group, id, suite: suiteID, keyPackages, reinit }) {
    const c = clients.get(identity)
    const parent = groups.get(group).state
    const cs = await suite(suiteID)
    const k = await keyPackage(c, cs)
    const others = keyPackages.map((p) => parse(p).keyPackage)
    const r = reinit
      ? await mls.reinitCreateNewGroup(parent, k.publicPackage, k.privatePackage, others, bytes(id), cs.name, [])
      : await mls.branchGroup(parent, k.publicPackage, k.privatePackage, others, bytes(id), cs)
    return { ...(await hold(c, r.newState, cs)), tree: tree(r.newState), welcome: message({ wireformat: "mls_welcome", welcome: r.welcome }) }
  },
  async joinSuccessor({ identity, group, suite: suiteID, welcome, reinit }) {
    const c = clients.get(identity)
    const parent = groups.get(group).state
    const cs = await suite(suiteID)
    const { welcome: w } = parse(welcome)
    const k = c.offers.at(-1)
    const args = [parent, w, k.publicPackage, k.privatePackage, undefined]
    const state = reinit ? await mls.joinGroupFromReinit(...args) : await mls.joinGroupFromBranch(...args, cs)
    return hold(c, state, cs)
  },
  async reinit({ group, id, suite: suiteID }) {
    const g = groups.get(group)
    const r = await mls.reinitGroup(handshake(g), bytes(id), "mls10", (await suite(suiteID)).name, [], g.cs)
    g.state = { ...r.newState, clientConfig: config }
    return { ...(await view(g)), message: message(r.commit) }
  },
  async encrypt({ group, data }) {
    const g = groups.get(group)
    const r = await mls.createApplicationMessage(g.state, bytes(data), g.cs)
    g.state = { ...r.newState, clientConfig: config }
    return { message: message({ wireformat: "mls_private_message", privateMessage: r.privateMessage }) }
  },
  async receive({ group, message: m }) {
    const g = groups.get(group)
    const got = parse(m)
    const r =
      got.wireformat === "mls_public_message"
        ? await mls.processPublicMessage(g.state, got.publicMessage, psks(g), g.cs)
        : await mls.processPrivateMessage(g.state, got.privateMessage, psks(g), g.cs)
    g.state = { ...r.newState, clientConfig: config }
    return { ...(await view(g)), data: r.message && hex(r.message) }
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const { op, ...args } = JSON.parse(line)
  let answer
  try {
    answer = { ok: true, ...(await ops[op](args)) }
  } catch (e) {
    answer = { ok: false, error: `${e?.name}: ${e?.message}` }
  }
  process.stdout.write(JSON.stringify(answer) + "\n")
}
