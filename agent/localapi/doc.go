// Package localapi is how other programs of a person use that person's running
// agent: typed calls and a stream of what happens. The command line is one of
// them; a user interface or a bot is another, and has no more and no less.
//
//	confab chat send ─► Client ─► socket in the account's folder ─┐
//	a page, a bot    ─► HTTP   ─► 127.0.0.1 with a token         ─┴► Server ─► chat.Agent
//
// One protocol serves both: HTTP/1.1, POST /v1/NOUN/VERB with JSON in and out,
// and GET /v1/events, whose answer goes on, a line of JSON for each thing that
// happens. docs/SPEC-localapi.md is written for those who use it from another
// language.
//
// What it guarantees. Only this machine reaches it, and of it only the agent's
// own user: the socket lies in a folder that is closed to others, and where the
// system tells who connects, others are turned away; over HTTP whoever has no
// token gets nothing, and neither does a web page that was not let in, whatever
// name it reaches this machine by. Only the socket takes paths of files: a page
// with a token cannot read the person's disk. Errors keep their kind. Bodies,
// connections and followers are bounded.
//
// What it must not know: keys, chains, concierges, how anything is encrypted or
// kept, and what people see.
//
// Start at methods.go: it lists all calls, with the shapes that both ends are
// made of. [Client] is the one end, [Server] the other.
package localapi
