package chat

import "time"

// Bounds of what one conversation may cost before anybody read it.
const (
	// maxEarly is how many messages a conversation keeps that it cannot open yet,
	// because the commit or Welcome before them is still on its way. Whoever can
	// write here (one contact) fills 64 MB at worst.
	maxEarly = 1000
	// maxPartial is how many messages in several pieces may be incomplete at once.
	maxPartial = 16
	// maxUnsealed is how many own messages wait for a session, as before a contact
	// has answered.
	maxUnsealed = 500
	// outboxReserve is how many items for a destination only commits and Welcomes may
	// fill, so that a contact whose concierge is dead for long does not end the
	// session too; it is more than any one message has pieces.
	outboxReserve = 500
	// maxFormer is how many earlier instances stay readable. Each replaces one
	// that broke; more than a few at once are somebody's doing.
	maxFormer = 4
	// maxRequests is how many contact requests wait for this person: as many
	// knocks as a concierge keeps, several times over.
	maxRequests = 500
	// maxSessions is how many sessions stay in memory. One costs some 100 kB.
	maxSessions = 128
	// maxResent is how many events are sent again for one request; who misses more
	// asks again.
	maxResent = 500
	// maxResentBytes bounds them likewise: a screenful of small ones, or a few that
	// are as large as can be.
	maxResentBytes = 1 << 20
)

// When things are done.
const (
	// tendEvery is how often a conversation is compared with the chain when
	// nothing calls for it: it bounds how long a removed device still reads.
	tendEvery = 30 * time.Second
	// listedAge is how old a device list may be when a session is changed by it.
	listedAge = 2 * time.Minute
	// silence is how long a chain that did not answer is not asked again by those
	// who can do with what was known.
	silence = 5 * time.Second
	// judgeAge is how old it may be when a new member is judged by it: design §7's
	// bound on staleness.
	judgeAge = time.Hour
	// offerLife is how long a KeyPackage is good: as long as a concierge keeps it.
	offerLife = 90 * 24 * time.Hour
	// offerCount is how many one-time KeyPackages a device keeps at its concierge:
	// new contacts and new instances of some days.
	offerCount = 12
	// renewAfter is when a device renews its keys in a conversation where it
	// writes: so long at most a thief of its memory reads on.
	renewAfter = 24 * time.Hour
	// healAfter is how long a session may be unable to open what came before a new
	// instance is made.
	healAfter = time.Minute
	// knockAgain is how long an unanswered request waits before it is repeated:
	// the recipient's concierge keeps a knock for 30 days.
	knockAgain = 20 * 24 * time.Hour
	// receiptAfter gathers what came into one receipt.
	receiptAfter = 500 * time.Millisecond
	// askAgain is how long a request for missing events waits before it is
	// repeated, doubled each time.
	askAgain = 15 * time.Second
	// resendEvery is the least time between two answers to who misses events.
	resendEvery = 10 * time.Second
	// againEvery is the least time between two times that all is sent again which
	// no receipt covers.
	againEvery = 20 * time.Second
	// tellEvery is the least time between two notices to a contact of a concierge
	// that loses mail.
	tellEvery = time.Hour
	// seenFor is how long ids of mail are remembered: longer than a concierge keeps
	// it, and one that was left passes it on.
	seenFor = 90 * 24 * time.Hour
	// drainFor is how long mail is fetched from a concierge that was left: as long
	// as it keeps it.
	drainFor = 30 * 24 * time.Hour
	// retryLeast and retryMost bound the wait before a destination that failed is
	// tried again. Attempts never end.
	retryLeast = time.Second
	retryMost  = 5 * time.Minute
)

// Of conversations that are looked after, at once.
const (
	// maxTending is how many: most of that time is spent waiting for others, and
	// each takes a core for some milliseconds when it makes a session.
	maxTending = 8
	// maxFailing is how many of them may be such as failed the last time, so that
	// the others keep places however many contacts' concierges are dead.
	maxFailing = maxTending / 2
)

// Of the outbox, at once.
const (
	maxDestinations = 32
	maxAtOnce       = 32
)
