package concierge

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// The tags of ids. Everything a concierge keeps is a stream whose id is a hash
// under one of them.
const (
	TagOwner   wire.Tag = "confab/concierge-owner/1\n"
	TagAddress wire.Tag = "confab/concierge-address/1\n"
	TagQueue   wire.Tag = "confab/concierge-queue/1\n"
	TagKept    wire.Tag = "confab/concierge-kept/1\n"
)

// An Owner is an account at one generation, as ids are made of it. Who takes an
// account over in a way that raises its generation does not get the mail of who
// had it before.
type Owner [32]byte

// OwnerOf returns SHA-256(TagOwner ‖ account ‖ generation, 4 bytes big-endian).
func OwnerOf(account namesvc.AccountID, generation uint32) Owner {
	return TagOwner.Sum(account[:], binary.BigEndian.AppendUint32(nil, generation))
}

// A Seed is the secret a queue grows from. Its owner chooses it at random and
// tells only the concierge, once.
type Seed [32]byte

// An Address is the right to write to a queue: its owner gives it to a contact,
// and the concierge keeps only a hash of it. Writers use it in place of the
// stream's id.
type Address [32]byte

// Address returns SHA-256(TagAddress ‖ owner ‖ seed). Since the owner is part of
// it, nobody can claim a queue whose address he was merely told.
func (o Owner) Address(s Seed) Address { return TagAddress.Sum(o[:], s[:]) }

// Queue returns the id of the stream that is read: SHA-256(TagQueue ‖ address).
// A store that was stolen holds these and no address, so it is no right to
// write.
func (a Address) Queue() stream.ID { return TagQueue.Sum(a[:]) }

// String keeps addresses out of logs.
func (Address) String() string { return "address" }

// String keeps seeds out of logs.
func (Seed) String() string { return "seed" }

// What is kept for an owner beside his queues.
const (
	keptRecord   byte = 1 // his queues and devices
	keptKnocks   byte = 2 // first contacts of strangers
	keptPackages byte = 3 // one-time KeyPackages of a device
	keptTaken    byte = 4 // how many of those were given out
	keptLast     byte = 5 // the KeyPackage of last resort of a device

	keptForward  byte = 16 // what shall become of an account's mail that moved
	keptTokens   byte = 17 // how many tokens he has had
	keptTokenKey byte = 18 // our key for tokens of an epoch
	keptSpent    byte = 19 // tokens of an epoch that were spent here
	keptGrants   byte = 20 // invitation codes, and how many tickets were given

	keptVault byte = 32 // the backup of his history
	keptPins  byte = 33 // which files are kept for him
)

// kept returns the id of one of those streams; device is nil for the first two.
func (o Owner) kept(what byte, device *key.Public) stream.ID {
	if device == nil {
		return TagKept.Sum(o[:], []byte{what})
	}
	return TagKept.Sum(o[:], []byte{what}, device[:])
}

// Knocks returns the id of the owner's knock queue, which his devices read.
func (o Owner) Knocks() stream.ID { return o.kept(keptKnocks, nil) }

// String returns the first digits, enough to tell owners apart in a log.
func (o Owner) String() string { return hex.EncodeToString(o[:4]) }
