// Package agent is the user's own program: it acts for a person on the chain,
// with keys that only that person holds.
//
// What it guarantees: what it signs is made from proven state; a registration
// or change that it reports done is proven; whatever an outage interrupts can be
// taken up again from its journal.
//
// What it must not know: terminals, flags, the words shown to people, and how
// the chain reaches agreement.
//
// A registration is paid for with work or by a [Sponsor], who never learns what he
// pays for.
//
// Start at [Names]; keys at rest are agent/keyring's.
package agent
