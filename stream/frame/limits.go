package frame

import (
	"time"

	"github.com/confab-chat/confab/stream"
)

// Version is the newest version of the protocol that this package speaks. There
// is no other yet.
const Version = 1

// Bounds of a connection. The server holds clients to them, and clients the
// server.
const (
	// MaxFrame is the most bytes a frame may have: a page whose last entry is the
	// largest.
	MaxFrame = stream.MaxPage + stream.MaxBody + 4096
	// MaxRequest is the most bytes a client's frame may have.
	MaxRequest = stream.MaxBody + 1024
	// MaxSubscriptions is the most streams one connection may follow: all queues
	// of a person with some hundred contacts and groups.
	MaxSubscriptions = 1024
	// maxInFlight is the most appends of one connection that wait for the disk, and
	// maxFlyingBytes what their bodies may have together; further requests are read
	// when some are done.
	maxInFlight    = 256
	maxFlyingBytes = 512 << 10
	// maxOut is how many bytes may wait to be written to one connection. Then
	// requests are no longer read and pushes no longer added.
	maxOut = 256 << 10
	// maxEntries is the most entries in one page: bodies may be empty.
	maxEntries = stream.MaxPage/stream.EntryCost + 1
	// maxText is the most bytes of an error's text that cross.
	maxText = 512
	// maxWhispers is how many announcements of one stream wait to be passed on.
	maxWhispers = 16
	// maxSignature is the most bytes a signature of a head may have.
	maxSignature = 128
	// maxBuffered is how many bytes a client holds of a subscription that nobody
	// reads from, and maxHeld of all those of one connection; what comes then it
	// lets go of, and asks for it again later.
	maxBuffered = 1 << 20
	maxHeld     = 8 << 20
	// pageCost is what a page counts there beside its entries: it may have none.
	pageCost = 256
)

// MaxMemory is the most bytes of frames and bodies that a connection has a server
// hold, whatever the client sends and does not take: what waits to be written, a
// page on top of that which was pushed, one that answers a request and one of
// whichever subscription catches up (they take turns), what waits for the disk and
// its answers, and the request that is being read.
const MaxMemory = 2 << 20

const _ uint = MaxMemory - (maxOut + 3*MaxFrame + maxFlyingBytes + maxInFlight*(maxText+100) + MaxRequest) // it is no less

// Frames that ask for nothing, and are answered all the same: pings, and ends of
// subscriptions that are none. A client needs one in pingEvery, and some more when
// it looks whether a network is still there.
const (
	idleBurst = 60
	idleEach  = time.Second // until there may be one more
)

// Times of a connection.
const (
	// pingEvery is how often clients must be heard of; proxies and mobile
	// networks forget connections that are silent for some minutes.
	pingEvery = 50 * time.Second
	// silence is how long a server waits for a client to be heard of.
	silence = 3 * pingEvery
	// stall is how long a server waits for a client that takes nothing.
	stall = 30 * time.Second
	// lookEvery is how often the server looks for both.
	lookEvery = 5 * time.Second
	// againAfter is when a stream is read again after the store did not answer.
	againAfter = time.Second
)
