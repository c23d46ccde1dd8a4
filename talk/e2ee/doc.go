// Package e2ee is the law of direct conversations: who may be in one, how its
// MLS group is made, changed and replaced, what its messages may say, and what
// of them the world sees.
//
//	Offer ◄── a device lets others add it (a KeyPackage)
//	Knock ──► a stranger asks for contact, sealed to the offers of an account
//	Session   one device's state of one MLS group of a conversation
//	          Create / Enter / Load · Seal / Open · Due / Commit / Merge
//	Envelope  what a queue holds: a piece of an MLS message under the queue's key
//	Reach     where and under which key a party is to be written to
//
// A party is an account at a generation, a member one of its devices. A
// conversation is between two parties, or one alone: its devices among
// themselves. Its MLS groups follow one another as instances 1, 2, … (see
// [Newer]): when a group cannot go on, any member makes the next one.
//
// # What it guarantees
//
// Only devices that the [Judge] confirms are let in, and no listed device is
// thrown out. An event that Open returns was sealed by the device that it names,
// in this conversation. What a device was removed for it cannot undo: its commits
// are refused. An operation that returns an error has changed nothing, but that a
// message whose content breaks the rules is read no second time. A message that
// was read cannot be read again once the delta is stored. Nothing that others
// send costs more than the bounds in limits.go, or makes this package panic. No
// key shows in an error or in print.
//
// # What it must not know
//
// It has no clock, no randomness and no network of its own, and knows no chain:
// the Judge is the light client's. How bytes travel, in which order commits count
// and when a new instance is made is for agent to do; that exactly one commit
// counts in an epoch is for the queue's slot ([EnvelopeKey.WrapCommit]).
//
// # Where to start reading
//
// session.go, then open.go and change.go; member.go for what a credential says.
// The formats and rules are docs/SPEC-e2ee.md, part 2.
//
// The package has not been reviewed by outsiders.
package e2ee
