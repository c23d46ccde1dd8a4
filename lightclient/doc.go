// Package lightclient answers what a handle means from sources that nobody has
// to trust. Everything above it that needs a name asks a [Resolver].
//
// What it guarantees: an answer stands on the reader's own pin, is proven, is
// no older than the caller allows, and says how sure it is. A source that
// lies, stalls or replays costs time, never truth, and not much time: the next
// one is asked soon. Where a second source is configured, both must know the
// same head; if two heads of one height are properly signed, the evidence is
// kept and nothing of that chain is believed any more, by this program or the
// next one that finds the evidence in its store.
//
// What it must not know: the chain's machinery (CometBFT, ABCI), keys of
// accounts, user interfaces. It builds for browsers.
//
// Start at [Client.Resolve], then [Client.Submit]. The pure parts are
// lightclient/verify and lightclient/bundle; sources are in lightclient/source.
package lightclient
