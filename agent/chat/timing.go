package chat

import (
	"time"

	"github.com/confab-chat/confab/talk/message"
)

// timing says when a room is tended.
type timing struct {
	next      uint64 // at the latest
	notBefore uint64 // after a failure
	failures  int
	tends     int    // how often it was tended
	stuck     uint64 // since when messages are early, ms
	healed    uint64 // when an instance was made last, ms
	heals     int
	asked     uint64 // when missing events were asked for last, ms
	asks      int
	owes      uint64          // since when a receipt is owed, ms
	behind    uint64          // when the own other devices are to be asked what they have, ms
	wanted    []message.Range // what the other side misses
	resent    uint64          // when that was sent last, ms
	again     uint64          // when all was sent again that no receipt covers, ms
	told      uint64          // when the contact was told last that mail was lost, ms
}

// clockSlack is what a clock may go back without notice.
const clockSlack = time.Second

// past reports whether a wait since t is over. A t in the future was taken by a
// clock that has been set back since: how long ago it was nobody knows, and to
// wait for it could take for ever.
func past(t uint64, wait time.Duration, now uint64) bool {
	return t > now || t+ms(wait) <= now
}

// nextTend returns when something is to be tended next. What waits for a place
// gets it when another is released.
func (a *Agent) nextTend() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	every := ms(a.o.Every)
	next := now + every
	if !a.selfBusy {
		next = min(next, max(a.selfNext, now))
	}
	for id := range a.rooms {
		if !a.room(id) {
			continue
		}
		next = min(next, max(a.times[id].due(a.hurry[id], now, every), now))
	}
	return time.Duration(max(next-now, 10)) * time.Millisecond
}

// due returns when a room is to be tended, never long after now: times beyond
// that were set before the clock was.
func (t timing) due(hurried bool, now, every uint64) uint64 {
	due := min(t.next, now+every)
	if hurried {
		due = 0
	}
	if t.owes != 0 {
		due = min(due, t.owes+ms(receiptAfter))
	}
	if t.behind != 0 {
		due = min(due, t.behind)
	}
	if len(t.wanted) > 0 {
		due = min(due, t.resent+ms(resendEvery))
	}
	if t.notBefore > now+ms(retryMost) {
		return due
	}
	return max(due, t.notBefore)
}

// idle forgets what was to be done in a room in which nothing can be done now, so
// that it is not due without end.
func (a *Agent) idle(id message.ConversationID) {
	a.timing(id, func(t *timing) { t.owes, t.behind, t.wanted = 0, 0, nil })
}

// timing changes a room's times.
func (a *Agent) timing(id message.ConversationID, f func(*timing)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.times[id]
	f(&t)
	a.times[id] = t
}
