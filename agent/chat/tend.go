package chat

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/confab-chat/confab/agent/ratchet"
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// Tending brings everything in step with the chain: the concierge with the own
// entry, KeyPackages with what was given out, each session with the devices of
// its two accounts. It is done at intervals, and at once for what is in a hurry;
// all of it may be done any number of times.

// tendAll tends until ctx ends.
func (a *Agent) tendAll(ctx context.Context) {
	before := a.now()
	for {
		now := a.now()
		if now+ms(clockSlack) < before {
			a.retryAll() // the clock was set back: what was put off is far away now
		}
		before = now
		if a.selfDue() {
			a.tendSelf(ctx)
		}
		for _, id := range a.toTend() {
			if ctx.Err() != nil {
				return
			}
			err := a.tendRoom(ctx, id)
			if err != nil && ctx.Err() == nil {
				a.log.Info("a conversation is looked after again later", "conversation", id, "error", err)
				a.postpone(id)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-a.tend:
		case <-time.After(a.nextTend()):
		}
	}
}

// toTend returns the rooms in a hurry first, then those whose time has come.
func (a *Agent) toTend() []message.ConversationID {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	var hurried, due []message.ConversationID
	for id := range a.hurry {
		if _, ok := a.rooms[id]; !ok {
			delete(a.hurry, id) // of a change that was not written
		}
	}
	for id := range a.rooms {
		t := a.times[id]
		if t.due(a.hurry[id], now, ms(a.o.Every)) > now {
			continue
		}
		if a.hurry[id] {
			hurried = append(hurried, id)
		} else {
			due = append(due, id)
		}
		delete(a.hurry, id)
		t.next = now + ms(a.o.Every)
		a.times[id] = t
	}
	return append(hurried, due...)
}

// timing says when a room is tended.
type timing struct {
	next      uint64 // at the latest
	notBefore uint64 // after a failure
	failures  int
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

func (a *Agent) nextTend() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	every := ms(a.o.Every)
	next := min(max(a.selfNext, now), now+every)
	for id := range a.rooms {
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

// tendNow has a room looked after at once.
func (a *Agent) tendNow(id message.ConversationID) {
	a.mu.Lock()
	a.hurry[id] = true
	a.mu.Unlock()
	wake(a.tend)
}

// retryAll has everything sent now that was put off.
func (a *Agent) retryAll() {
	if err := a.store.Update(func(tx *store.Tx) error { return tx.Retry() }); err != nil {
		a.log.Error("retry what waits", "error", err)
	}
	wake(a.send)
}

// postpone has a room that failed wait, longer each time.
func (a *Agent) postpone(id message.ConversationID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.times[id]
	t.failures++
	wait := min(retryLeast<<min(t.failures, 10), retryMost)
	t.notBefore = a.now() + ms(wait)
	a.times[id] = t
	a.hurry[id] = true
}

// timing changes a room's times.
func (a *Agent) timing(id message.ConversationID, f func(*timing)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.times[id]
	f(&t)
	a.times[id] = t
}

func (a *Agent) hurryAll() {
	a.mu.Lock()
	a.selfNext = 0
	for id := range a.rooms {
		a.hurry[id] = true
		t := a.times[id]
		t.notBefore, t.failures = 0, 0
		a.times[id] = t
	}
	a.mu.Unlock()
	wake(a.tend)
}

// selfDue reports whether the own account is to be looked after now, and when it
// will be next.
func (a *Agent) selfDue() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if a.selfNext > now && a.selfNext <= now+ms(a.o.Every) {
		return false
	}
	a.selfNext = now + ms(a.o.Every)
	return true
}

// hurrySelf has the own account looked after at once.
func (a *Agent) hurrySelf() {
	a.mu.Lock()
	a.selfNext = 0
	a.mu.Unlock()
	wake(a.tend)
}

// tendSelf looks after the own account and its concierge.
func (a *Agent) tendSelf(ctx context.Context) {
	l, err := a.roster.ask(ctx, a.o.Account, a.o.Every)
	if err != nil {
		a.log.Info("the chain does not answer; what was known is used", "error", err)
	} else if !l.lists(a.o.Keys.Device.Public()) {
		a.once("removed", Notice{Type: "notice", Text: "this device is not one of the account's: it can read what is here and nothing new"})
		return
	}
	if err := a.settleOffice(ctx); err != nil && ctx.Err() == nil {
		a.log.Info("the concierge cannot be looked up now", "error", err)
	}
	office, err := a.present()
	if err != nil {
		return
	}
	if a.backupNow().State == backupBehind {
		wake(a.vault)
	}
	err = a.post.Ask(ctx, office, func(ctx context.Context, c *concierge.Client) error {
		return a.stock(ctx, c, office.Service.Account[:])
	})
	if err != nil && ctx.Err() == nil {
		a.log.Info("key packages cannot be left at the concierge now", "error", err)
	}
	a.tendDevices(ctx, l)
	a.leaveFormer(ctx)
	a.sweep(ctx)
}

// sweep lets go of what is over: ids of mail that nobody can bring any more, and
// an invitation to link a device.
func (a *Agent) sweep(ctx context.Context) {
	now := a.now()
	a.mu.Lock()
	l, due := a.linking, past(a.swept, 24*time.Hour, now)
	if due {
		a.swept = now
	}
	a.mu.Unlock()
	if l != nil && past(l.until-ms(linkTime), linkTime, now) {
		a.endLink(ctx, l)
	}
	if !due || now < ms(seenFor) {
		return
	}
	if err := a.store.Update(func(tx *store.Tx) error { return tx.ForgetSeen(now - ms(seenFor)) }); err != nil {
		a.log.Error("forget ids of old mail", "error", err)
	}
}

// once tells a notice once while the agent runs.
func (a *Agent) once(key string, n Notice) {
	a.mu.Lock()
	told := a.told[key]
	a.told[key] = true
	a.mu.Unlock()
	if !told {
		a.feed.tell(n)
	}
}

// tendRoom looks after one conversation.
func (a *Agent) tendRoom(ctx context.Context, id message.ConversationID) error {
	a.mu.Lock()
	r, ok := a.rooms[id]
	a.mu.Unlock()
	if !ok {
		return nil
	}
	if l, ok := a.roster.cached(a.o.Account); ok && !l.lists(a.o.Keys.Device.Public()) {
		a.idle(id)
		return nil // nothing that this device says counts
	}
	state := store.Accepted
	if !a.own(r) {
		var c store.Contact
		err := a.store.View(func(tx *store.Tx) (err error) {
			c, err = tx.Contact(r.With.Account)
			return err
		})
		if err != nil {
			return err
		}
		if state = c.State; c.Party != r.With {
			a.idle(id) // of who had the account before
			return nil
		}
	}
	if state == store.Blocked || state == store.Requested {
		a.idle(id)
		return nil
	}
	if err := a.readBoxes(ctx, id); err != nil {
		return err
	}
	if state == store.Invited {
		a.idle(id)
		if r.Asked == 0 || past(r.Asked, knockAgain, a.now()) {
			return a.leaveKnock(ctx, id, nil)
		}
		return nil
	}
	them, err := a.roster.ask(ctx, r.With.Account, listedAge)
	if err != nil {
		return err
	}
	if them.party() != r.With {
		a.once("generation "+id.String(), Notice{Type: "notice", Contact: r.With.Account,
			Text: "this contact's account is under other control now: nothing is sent until you have compared safety numbers and accepted it"})
		a.idle(id)
		return nil
	}
	if r.Anew {
		return a.askAnew(ctx, id)
	}
	if a.own(r) {
		a.introduceAll(ctx, a.otherDevices())
		if err := a.change(ctx, func(b *batch) error { return b.shareUntold() }); err != nil {
			return err
		}
		a.answerHistory(ctx)
	}
	if err := a.tendSession(ctx, id, r); err != nil {
		return err
	}
	a.mu.Lock()
	r, ok = a.rooms[id] // as it is now
	a.mu.Unlock()
	if !ok {
		return nil
	}
	if err := a.tendEvents(ctx, id, r); err != nil {
		return err
	}
	a.timing(id, func(t *timing) { t.failures, t.notBefore = 0, 0 })
	return nil
}

// askAnew tells a contact, by a knock, that this account's devices are others now
// and have no session with them.
func (a *Agent) askAnew(ctx context.Context, id message.ConversationID) error {
	err := a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		reach, _ := a.reach(r, a.party())
		e, err := message.New(id, a.author(), message.Place{}, a.o.Now(), message.ContactRequest{From: a.party(), Reach: reach.Encode()})
		if err != nil {
			return err
		}
		r.Request = e.Bytes()
		return nil
	})
	if err == nil {
		err = a.leaveKnock(ctx, id, nil)
	}
	if err != nil {
		return err
	}
	return a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err == nil {
			r.Anew = false
		}
		return err
	})
}

// tendSession makes a session, mends it, and keeps it in step with the devices
// that the chain lists.
func (a *Agent) tendSession(ctx context.Context, id message.ConversationID, r *room) error {
	now := a.now()
	var t timing
	patience := 10 * healAfter
	if r.Behind {
		patience = healAfter
	}
	a.timing(id, func(p *timing) {
		if r.EarlyFrom == r.EarlyTo {
			p.stuck = 0
		} else if p.stuck == 0 {
			p.stuck = now
		}
		t = *p
	})
	switch _, reachable := a.reach(r, r.With); {
	case !reachable:
		return nil // the answer brings it
	case len(r.Group) == 0:
		if a.own(r) && len(a.otherDevices()) == 0 || !a.first(id, r, now) || !past(r.Asked, healAfter, now) {
			return nil // somebody else makes it
		}
		return a.makeInstance(ctx, id, r)
	case r.Broken != 0, t.stuck != 0 && past(t.stuck, patience, now):
		return a.heal(ctx, id, r)
	}
	return a.tendMembers(ctx, id, r)
}

// heal makes a new instance of a session that cannot go on. Each that does not
// last makes the next one wait longer, so that nobody can keep this device busy
// with making them.
func (a *Agent) heal(ctx context.Context, id message.ConversationID, r *room) error {
	now := a.now()
	wait := false
	a.timing(id, func(p *timing) {
		if past(p.healed, healedLong, now) {
			p.heals = 0
		}
		if wait = p.healed != 0 && !past(p.healed, healAfter<<min(p.heals, 6), now); !wait {
			p.healed, p.heals, p.stuck = now, p.heals+1, 0
		}
	})
	if wait {
		return nil
	}
	return a.makeInstance(ctx, id, r)
}

// healedLong is after what time a session has lasted.
const healedLong = 24 * time.Hour

// first reports whether this device is to make a room's first session: the one
// that decided about the contact, and any other if that takes too long.
func (a *Agent) first(id message.ConversationID, r *room, now uint64) bool {
	if r.Mine {
		return true
	}
	if a.own(r) {
		l, _ := a.roster.cached(a.o.Account)
		if all := l.members(); len(all) > 0 && all[0].Device == a.o.Keys.Device.Public() {
			return true
		}
	}
	return past(r.Changed, healAfter, now)
}

// otherDevices returns the account's other devices.
func (a *Agent) otherDevices() []e2ee.Member {
	l, _ := a.roster.cached(a.o.Account)
	return slices.DeleteFunc(l.members(), func(m e2ee.Member) bool { return m.Device == a.o.Keys.Device.Public() })
}

// makeInstance makes a new session of a room with all devices that can be had.
func (a *Agent) makeInstance(ctx context.Context, id message.ConversationID, old *room) error {
	offers, err := a.offersFor(ctx, old, append(a.otherDevices(), a.theirDevices(old)...))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(offers, func(o e2ee.Offer) bool { return o.Member.Account == old.With.Account }) {
		return wire.Errorf(wire.Unavailable, "no device of the other side has a key package now")
	}
	return a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		if string(r.Group) != string(old.Group) || r.Broken != old.Broken && r.Broken == 0 {
			return nil // another came meanwhile
		}
		s, welcome, err := e2ee.Create(a.o.Rand, a.o.Now(), a.options(r), max(r.Instance, r.Least)+1, offers)
		if err != nil {
			return err
		}
		for n := r.EarlyFrom; n < r.EarlyTo; n++ {
			b.notes[earlyNote(id, n)] = nil // it is asked for by number, if it counts
		}
		r.EarlyFrom, r.Behind = r.EarlyTo, false
		b.enter(r, s)
		r.Renewed = b.now
		if err := b.welcomeTo(r, offersOf(offers), welcome); err != nil {
			return err
		}
		return b.settled(id, r)
	})
}

func offersOf(list []e2ee.Offer) (out []e2ee.Member) {
	for _, o := range list {
		out = append(out, o.Member)
	}
	return out
}

// theirDevices returns the other side's devices; in the own room there are none.
func (a *Agent) theirDevices(r *room) []e2ee.Member {
	if a.own(r) {
		return nil
	}
	l, ok := a.roster.cached(r.With.Account)
	if !ok || l.party() != r.With {
		return nil
	}
	return l.members()
}

// offersFor fetches KeyPackages of devices of both sides, with the addresses that
// are known, so that no work is due.
func (a *Agent) offersFor(ctx context.Context, r *room, devices []e2ee.Member) (list []e2ee.Offer, last error) {
	byAccount := map[namesvc.AccountID][]e2ee.Member{}
	for _, m := range devices {
		byAccount[m.Account] = append(byAccount[m.Account], m)
	}
	for account, members := range byAccount {
		var address *concierge.Address
		p := a.party()
		if account != a.o.Account {
			p = r.With
		}
		if reach, ok := a.reach(r, p); ok {
			to := concierge.Address(reach.Address)
			address = &to
		}
		offers, err := a.fetchOffers(ctx, members, address)
		if err != nil {
			last = err
		}
		list = append(list, offers...)
	}
	if len(list) == 0 && last != nil {
		return nil, last
	}
	return list, nil
}

// welcomeTo queues a Welcome for the parties of those who were added.
func (b *batch) welcomeTo(r *room, added []e2ee.Member, welcome []byte) error {
	if len(welcome) == 0 {
		return nil
	}
	for _, p := range b.a.parties(r) {
		if slices.ContainsFunc(added, func(m e2ee.Member) bool { return m.Account == p.Account }) {
			if err := b.wrap(r, p, message.ID{}, welcome); err != nil {
				return err
			}
		}
	}
	return nil
}

// settled does what follows when devices have come into the session in use.
func (b *batch) settled(id message.ConversationID, r *room) error {
	if b.a.own(r) {
		return b.snapshot(r)
	}
	if err := b.answer(id, r); err != nil {
		return err
	}
	if err := b.flush(id, r); err != nil {
		return err
	}
	return b.again(id, r)
}

// answer says that the contact's request is accepted, and where this side reads.
func (b *batch) answer(id message.ConversationID, r *room) error {
	if r.Answered || len(r.Request) == 0 {
		return nil
	}
	ready, err := b.ready(r)
	if err != nil || !ready {
		return err
	}
	ask, err := message.Decode(r.Request)
	if err != nil {
		return err
	}
	if ask.Author.Account == b.a.o.Account {
		return nil // it was ours
	}
	r.Answered = true
	reach, _ := b.a.reach(r, b.a.party())
	_, err = b.make(id, r, message.ContactAnswer{To: ask.ID(), Accepted: true, Reach: reach.Encode()})
	return err
}

// tendMembers commits what the chain's device lists call for.
func (a *Agent) tendMembers(ctx context.Context, id message.ConversationID, old *room) error {
	var remove, add []e2ee.Member
	var renew bool
	err := a.change(ctx, func(b *batch) error {
		r, err := b.room(id)
		if err != nil {
			return err
		}
		s, err := b.session(r, r.Group)
		if wire.CodeOf(err) == wire.NotFound {
			return b.broken(id, r, r.Group, err)
		}
		if err != nil {
			return err
		}
		remove, add = s.Due(a.listedIn(r))
		renew = r.Renewed != 0 && r.Spoke > r.Renewed && past(r.Renewed, renewAfter, b.now)
		if err := b.answer(id, r); err != nil {
			return err
		}
		return b.flush(id, r)
	})
	if err != nil {
		return err
	}
	if old.Commit != nil {
		if len(remove) > 0 && past(old.Commit.Since, healAfter, a.now()) {
			// Who has to go must not stay because the slot cannot be reached.
			return a.makeInstance(ctx, id, old)
		}
		return nil
	}
	if len(remove) == 0 && len(add) == 0 && !renew {
		return nil
	}
	if old.Taken != 0 {
		// Another's commit is in force and has not come. Mostly it does; if whoever
		// made it is away, nobody can change this session any more.
		if len(remove)+len(add) > 0 && past(old.Taken, healAfter, a.now()) {
			return a.heal(ctx, id, old)
		}
		return nil
	}
	var offers []e2ee.Offer
	if len(add) > 0 {
		if offers, err = a.offersFor(ctx, old, add); err != nil && len(remove) == 0 && !renew {
			return err
		}
	}
	return a.change(ctx, func(b *batch) error { return b.commit(id, old, offers) })
}

// commit puts a commit on its way to its slot.
func (b *batch) commit(id message.ConversationID, old *room, offers []e2ee.Offer) error {
	a := b.a
	r, err := b.room(id)
	if err != nil {
		return err
	}
	if r.Commit != nil || r.Taken != 0 || string(r.Group) != string(old.Group) || r.Broken != 0 {
		return nil
	}
	s, err := b.session(r, r.Group)
	if err != nil {
		return err
	}
	c, err := s.Commit(a.o.Rand, a.o.Now(), a.listedIn(r), offers)
	if errors.Is(err, e2ee.ErrBroken) {
		return b.broken(id, r, r.Group, err)
	}
	if err != nil {
		return err
	}
	raw, err := c.MarshalBinary()
	if err != nil {
		return err
	}
	to := a.orders(r)
	reach, ok := a.reach(r, to)
	if !ok {
		return nil
	}
	list, err := e2ee.EnvelopeKey(reach.Key).WrapCommit(a.o.Rand, c.Message, c.Slot, c.Epoch)
	if err != nil {
		return err
	}
	b.keys = append(b.keys, commitKey(r.Group, raw))
	r.Commit = &pending{Epoch: c.Epoch, Hash: sha256.Sum256(c.Message), IDs: idsOf(list), Since: b.now}
	b.queue(to, reach.Address, message.ID{}, list)
	return nil
}

func idsOf(list []e2ee.Envelope) (ids []stream.MessageID) {
	for _, e := range list {
		ids = append(ids, e.ID)
	}
	return ids
}

// shelfOfCommit names the shelf of a session's own commit that is under way.
func shelfOfCommit(group []byte) []byte { return append([]byte("x"), group...) }

func commitKey(group, value []byte) ratchet.Change {
	return ratchet.Change{Shelf: shelfOfCommit(group), Key: []byte("c"), Value: value}
}

// announce tells everybody else of a commit of ours that has its slot.
func (b *batch) announce(r *room, s *e2ee.Session, c *e2ee.Change) error {
	for _, p := range b.a.parties(r) {
		if p == b.a.orders(r) || p.Account == b.a.o.Account && !b.others(s) {
			continue
		}
		if err := b.wrap(r, p, message.ID{}, c.Message); err != nil {
			return err
		}
	}
	if err := b.welcomeTo(r, c.Added, c.Welcome); err != nil {
		return err
	}
	if b.a.own(r) && len(c.Added) > 0 {
		return b.snapshot(r)
	}
	return nil
}

// roomIDs returns all rooms.
func (a *Agent) roomIDs() []message.ConversationID {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.rooms))
}
