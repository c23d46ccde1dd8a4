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
//   - What is written to the queues of an account that moved, and asked for it, is
//     delivered to its new concierge under the writers' own ids and in the order
//     of each queue, whatever crashes; then writers are told that it moved.
//   - A stranger reaches nobody's queues: he knocks, and pays with memory-hard
//     work, or with a token that his own concierge signed blindly, which is spent
//     once here and says nothing of who he is. Limits hold per queue, per connection and per network; no record is
//     kept of who sent what.
//
// What it must not know: what is in a body, who wrote it, anybody's handle, and
// which of its users' queues belong to which contact. What it does know:
// accounts and devices it serves while they are connected, hashes of them in its
// store, addresses of networks, sizes and times, and the handles that a user looks up
// through it.
//
// Beside queues it keeps sealed files (pins.go and media.go, in the folder of
// package blob) and the backup of an account's history (vault.go), carries
// connections to other services that it cannot read (tunnel.go), and passes on
// questions about the chain (gateway.go). A file's room is promised before a byte is
// taken, and a file that can be read is whole.
//
// Not here yet: sponsoring. An account that names another concierge now can still
// fetch what waits and delete, for some months.
// A knock queue holds a hundred knocks: whoever works for that long fills it.
// With very many accounts connected, looking at each of them again takes longer
// than a block, since the chain answers about one account at a time.
//
// Several processes share one store; package stream/redisstore makes that
// possible. Limits of rates and connections are then those of each process.
//
// Start at [Server] and [Dial]; ids are in address.go, the handshake in
// handshake.go, forwarding in forward.go, forwards.go and carrier.go, tokens in
// token.go, issue.go and redeem.go, and docs/SPEC-concierge.md has all of it for other languages.
// Package host runs a server of a folder, as confab-concierge does.
package concierge
