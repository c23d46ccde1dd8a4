package post

import "time"

// Bounds of what is open and under way.
const (
	// maxGuests is the most connections to foreign concierges. Most people's
	// contacts share a few; the rest take turns.
	maxGuests = 64
	// maxTunnels is the same when they are reached through the own concierge, which
	// allows a device eight by default.
	maxTunnels = 8
	// maxOwn is the most connections as a device: the concierges that an entry
	// may name, and former ones that are being drained.
	maxOwn = 8
	// maxFlight and maxFlightBytes are the messages of one connection that wait
	// for an answer. The bytes stay below what a frame client holds for writing
	// (256 KiB), so that handing one over never waits for the other end.
	maxFlight      = 64
	maxFlightBytes = 192 << 10
	// maxQueueFlight is the messages to one queue that wait for an answer: enough
	// for 100 messages a second at a distance of 80 ms, few enough that a refusal
	// puts few in another order.
	maxQueueFlight = 8
	// maxCatching is how many queues are caught up with at once: each holds a
	// page (192 KiB at most) that waits for its turn.
	maxCatching = 32
	// maxKnown is how many parties' concierges are remembered.
	maxKnown = 1024
	// maxWhispers is how many announcements wait to be heard; more are dropped.
	maxWhispers = 64
	// maxSeq is the highest number of an entry that is believed. An honest queue
	// never gets there, and a cursor beyond could never be moved past.
	maxSeq = 1 << 53
	// maxWorkKiB is the most work done for one knock or KeyPackage, in KiB filled:
	// sixteen times the default of concierge.Limits, some twenty seconds.
	maxWorkKiB = 16 << 11 << 10
)

// times are how long things may take. Tests have shorter ones.
type times struct {
	// dial bounds finding and proving a concierge, all its URLs together.
	dial time.Duration
	// answer is how long one request may take; the concierge itself gives up
	// after ten seconds. A connection that is late with an answer is closed.
	answer time.Duration
	// wake is the same for a connection that is looked at since the network is
	// back.
	wake time.Duration
	// ask bounds a question to the chain.
	ask time.Duration
	// probe is how often a followed connection must show that it answers: one
	// whose other end vanished stays silent for ever.
	probe time.Duration
	// idle is how long a connection that nobody uses stays open.
	idle time.Duration
	// grace is how old a party's concierge may be when the chain cannot be
	// asked: as long as concierges keep connections without it.
	grace time.Duration
}

func defaultTimes() times {
	return times{
		dial: 15 * time.Second, answer: 20 * time.Second, wake: 5 * time.Second, ask: 10 * time.Second,
		probe: time.Minute, idle: 2 * time.Minute, grace: 10 * time.Minute,
	}
}

// Tokens for knocks. They are got in advance, at times that say nothing of when
// they are used.
const (
	// wantTokens are kept ready: more first contacts than most people make in a
	// day, and few enough to leave an account's other devices theirs.
	wantTokens = 6
	// tokensEvery is how often used and old ones are replaced.
	tokensEvery = 6 * time.Hour
	// tokensAgain is when they are asked for again after a failure.
	tokensAgain = 30 * time.Minute
	// tokenLasts is how long a token must be good for to be used.
	tokenLasts = 5 * time.Minute
)

// leastBackoff and mostBackoff bound the waits between attempts.
const (
	leastBackoff = 200 * time.Millisecond
	mostBackoff  = time.Minute
)
