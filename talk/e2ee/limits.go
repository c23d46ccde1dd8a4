package e2ee

import (
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/talk/message"
)

// Bounds of what others choose. They are part of the format where SPEC-e2ee
// lists them.
const (
	// MaxMembers is the most members of a conversation: all devices of both.
	MaxMembers = 2 * namesvc.MaxDevices
	// MaxOffer is the most bytes of an offer. X-Wing keys, a credential and
	// signatures come to 2,750; the rest is for capabilities to come. 32 of them
	// in a Welcome stay below MaxMessage.
	MaxOffer = 8 << 10
	// MaxLife is the longest lifetime of an offer. A concierge keeps one for 90
	// days, and its secret can be stolen for as long as it is good.
	MaxLife = 100 * 24 * time.Hour
	// MaxKnock is the most bytes of a knock: 16 wrapped keys of 1,208 bytes, and
	// an event of less than 3 KiB.
	MaxKnock = 24 << 10
	// MaxPieces is the most envelopes of one MLS message, and with it the most
	// that a reader keeps of one that is not complete.
	MaxPieces = 16
	// MaxMessage is the most bytes of an MLS message here. The largest, a
	// Welcome for a full conversation, has some 90 KiB.
	MaxMessage = MaxPieces * pieceSize
	// MaxInstance is the highest number of an instance.
	MaxInstance = 1<<53 - 1
	// MaxStep is how much higher an instance may be numbered than the one before.
	// A thief may number one instance as high as he can, and must not reach a
	// number which nobody can exceed.
	MaxStep = 1 << 20
)

const (
	// pieceSize is what an envelope holds of a message: with the fields around it
	// it is just what message.Pad takes.
	pieceSize = message.MaxEvent - 64
	// keepEpochs is how many past epochs stay readable: messages cross with at
	// most a few commits, and what is kept can be stolen.
	keepEpochs = 3
	// skew is how far clocks may be apart.
	skew = time.Hour
	// travel is how long a Welcome may be on its way: as long as a queue keeps it.
	travel = 30 * 24 * time.Hour
	// groupIDSize makes ids that nobody meets twice or guesses.
	groupIDSize = 32
	// maxCredential bounds the encoding of a credential, of at most 90 bytes.
	maxCredential = 128
	// maxTerms bounds the encoding of a conversation's terms, of at most 130 bytes.
	maxTerms = 256
	// maxReach bounds the encoding of a reach, of 70 bytes.
	maxReach = 128
	// maxSecret bounds an offer's secret: the offer and two private keys.
	maxSecret = MaxOffer + 1<<10
	// maxPayload bounds a payload: an event or as large a record, and its kind.
	maxPayload = message.MaxEvent + 16
	// maxChange bounds a stored commit: the message, the Welcome, and the state
	// that follows.
	maxChange = 4 * MaxMessage
)
