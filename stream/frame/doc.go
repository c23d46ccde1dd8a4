// Package frame is the protocol that reaches streams over any connection:
// WebSocket on TLS, a libp2p stream, a pipe. It has the codec and both ends.
//
// A connection carries whole frames, in order ([Conn]). A frame is one byte that
// says its kind, and one array in the canonical CBOR of package wire; since the
// kinds are below 24 the whole is a CBOR sequence (RFC 8742) of an integer and an
// array. The client begins with [Hello], the server answers [Welcome]; from then
// on any number of requests may be on their way, each with a number that its
// answer repeats. Answers to appends come as they become durable; all others, in
// the order of their requests.
//
//	client                              server
//	Hello            ─────────────────► Welcome
//	Append 1, Append 2 ───────────────►
//	                 ◄───────────────── Done 2, Done 1
//	Subscribe 3, after 17 ────────────► Done 3
//	                 ◄───────────────── Pushed 18…240, Pushed 241…300
//	                 ◄───────────────── Pushed 301, as soon as it is there
//	Acknowledge, up to 301 ───────────►
//
// A subscription first brings what follows the reader's cursor, in pages bounded
// by bytes, and then what is appended, as it is. A page is encoded once however
// many receive it. Nobody's memory is spent on a slow reader: when its queue is
// full, the server goes on from the store, at the reader's pace; a reader that
// takes nothing for long is cut, and loses nothing, since it has its cursor.
//
// What it guarantees: requests are done at most as often as they were sent, and
// what a [Server] pushes for one subscription follows without holes. It holds the
// other end to all bounds in limits.go.
//
// What it must not know: who is at the other end (the [Authority] of a connection
// does), what is in a body, and which store is below.
//
// Start at codec.go, then [Server.Serve] and [Dial].
package frame
