// Package source holds the sources that a light client can ask: a validator's
// or concierge's HTTP API, and a bundle that came as a file or in a message.
//
// What it guarantees: answers are bounded in size and time. It verifies
// nothing: that is the light client's work, with whatever comes from here.
//
// Start at [HTTP].
package source
