// Package concierge is a user's mail server: it keeps what others write to the
// account until the account's devices have fetched it.
//
//	writer (a guest)                 concierge                 device of the owner
//	  address ──── Append ───────► queue = hash(address) ───── Subscribe, Acknowledge
//	  sealed first text ─ Knock ─► knock queue of the account ─ Subscribe
//	  address or work ─ Fetch ───► KeyPackages of a device ◄─── Upload
//
// A connection is a WebSocket on TLS. It begins with a handshake in which the
// concierge proves the server key of its name entry for this very connection
// (RFC 9266 channel binding), whatever its certificate; then a device proves its
// key and the chain is asked whether it may come in, or the client stays a guest.
// From then on it carries the frames of package stream/frame, and between them
// control requests, which make queues and KeyPackages.
//
// What it guarantees:
//   - A device that the chain no longer lists, or whose key has expired, is out
//     as soon as the concierge has seen the block. While the chain cannot be
//     asked, connections stay for Limits.Grace and no longer.
//   - A queue is written by whoever has its address and read by the devices of
//     its owner. The store holds hashes of addresses, never an address; nobody
//     can claim a queue by an address that he was told.
//   - A one-time KeyPackage is given out once, whatever crashes; so is each piece
//     of work spent once.
//   - A stranger reaches nobody's queues: he knocks, and pays with memory-hard
//     work. Limits hold per queue, per connection and per network; no record is
//     kept of who sent what.
//
// What it must not know: what is in a body, who wrote it, anybody's handle, and
// which of its users' queues belong to which contact. What it does know:
// accounts and devices it serves while they are connected, hashes of them in its
// store, addresses of networks, sizes and times.
//
// Not here yet: media, vault, proxy, sponsor and blind tokens, the gateway to the
// chain, forwarding after a switch. An account that names another concierge now
// can still fetch what waits and delete, for as long as its record is kept.
// A knock queue holds a hundred knocks: whoever works for that long fills it.
// With very many accounts connected, looking at each of them again takes longer
// than a block, since the chain answers about one account at a time.
//
// Several processes share one store; package stream/redisstore makes that
// possible. Limits of rates and connections are then those of each process.
//
// Start at [Server] and [Dial]; ids are in address.go, the handshake in
// handshake.go, and docs/SPEC-concierge.md has all of it for other languages.
// Package host runs a server of a folder, as confab-concierge does.
package concierge
