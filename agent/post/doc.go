// Package post carries an agent's bytes to and from concierges: it finds the
// concierge of a party on the chain, connects to it, writes to queues by their
// addresses and reads the own ones.
//
//	            own concierge                     concierges of others
//	             one connection, as a device       one connection each, as a guest
//	Follow   ◄── pages of the own queues
//	Deliver  ──► the own queues                ──► queues whose address was given
//	Knock    ─────────────────────────────────────► first contact, for a token or work
//	Package  ──► of own other devices          ──► KeyPackages of a contact's devices
//
// What it guarantees:
//   - Nothing is said to a server that has not proven, for this connection, the
//     key that the chain gives for the concierge; nothing but ciphertext, ids and
//     addresses is said to one that has.
//   - Pages of one queue come in order, at least once; what the taker did not
//     take comes again, and what was taken is acknowledged. Lost, hidden or
//     re-made queues are told apart: see [Rolled], [Gap] and [Missing].
//   - A party that changes its concierge, or a concierge that changes its
//     address or key, is found again without the caller's doing.
//   - A concierge that does not answer costs those who wait for it some seconds
//     and nobody else anything. Connections, messages under way and work are
//     bounded; see limits.go.
//   - Own queues are written on the own connection and others' as a guest, so no
//     connection shows that one client writes to both ends of a conversation.
//
// What it must not know: MLS, contacts, texts, which queue is for whom. It keeps
// nothing on disk: cursors and what waits to be sent are the caller's.
//
// What it does not hide: from a concierge, the network address that a guest
// comes from (unless Hops is Two), sizes and times.
//
// Start at [Post.Follow] and [Post.Deliver]; connections are in line.go.
package post
