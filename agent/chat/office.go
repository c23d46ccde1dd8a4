package chat

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/confab-chat/confab/agent/post"
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

// officesNote is the note that says which concierges this agent uses.
const officesNote = "offices"

// offices are the concierge that the entry names, and those that were left and
// may still hold mail.
type offices struct {
	now    *reading
	former []*reading
}

// reading is a concierge that mail is fetched from.
type reading struct {
	office post.Office
	until  uint64 // of a former one, ms
	boxes  *post.Boxes
	cancel context.CancelFunc // ends Follow; nil while it is not followed
	state  post.State
	told   bool // it was asked to forward
}

// keptOffice is how one is kept.
type keptOffice struct {
	_          struct{} `cbor:",toarray"`
	Chain      string
	Account    namesvc.AccountID
	Generation uint32
	Key        [32]byte
	URL        string
	Others     []string
	Handle     string
	Until      uint64
	Told       bool
}

func (r *reading) kept() keptOffice {
	s := r.office.Service
	return keptOffice{
		Chain: s.Chain, Account: s.Account, Generation: s.Generation, Key: s.Key,
		URL: r.office.URL, Others: r.office.Others, Handle: string(r.office.Handle), Until: r.until, Told: r.told,
	}
}

func (k keptOffice) reading() *reading {
	return &reading{
		office: post.Office{
			Service: concierge.Service{Chain: k.Chain, Account: k.Account, Generation: k.Generation, Key: k.Key},
			URL:     k.URL, Others: k.Others, Handle: namesvc.Handle(k.Handle),
		},
		until: k.Until, told: k.Told, boxes: new(post.Boxes),
	}
}

// source names a box at a concierge as an inbox of the store.
func source(service namesvc.AccountID, box stream.ID) string {
	return service.String() + "/" + box.String()
}

func (a *Agent) knockBox() stream.ID {
	p := a.party()
	return concierge.OwnerOf(p.Account, p.Generation).Knocks()
}

// present returns the concierge in use.
func (a *Agent) present() (post.Office, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.offices.now == nil {
		return post.Office{}, wire.Errorf(wire.NotFound, "you have no concierge: choose one with confab concierge switch")
	}
	return a.offices.now.office, nil
}

// settleOffice brings the concierge in use in step with the entry.
func (a *Agent) settleOffice(ctx context.Context) error {
	home, err := a.post.Home(ctx, listedAge)
	if err != nil {
		// Without the chain, or while the new one's entry cannot be read, the one
		// that was known stays good.
		if a.followAll(); wire.CodeOf(err) == wire.NotFound {
			return nil
		}
		return err
	}
	a.mu.Lock()
	now := a.offices.now
	same := now != nil && now.office.Service.Account == home.Service.Account && now.office.Service.Generation == home.Service.Generation
	if same {
		now.office = home
		a.mu.Unlock()
		a.followAll()
		return nil
	}
	a.mu.Unlock()
	if err := a.moveTo(ctx, home); err != nil {
		return err
	}
	a.followAll()
	return nil
}

// moveTo makes another concierge the one in use. The one before is read on.
func (a *Agent) moveTo(ctx context.Context, home post.Office) error {
	var old *reading
	moved := false
	err := a.change(ctx, func(b *batch) error {
		moved = false
		if old = a.offices.now; old != nil && old.office.Service.Account == home.Service.Account && old.office.Service.Generation == home.Service.Generation {
			return nil // somebody else was quicker
		}
		moved = true
		former := slices.DeleteFunc(slices.Clone(a.offices.former), func(r *reading) bool {
			return r.office.Service.Account == home.Service.Account
		})
		next := keptOffice{
			Chain: home.Service.Chain, Account: home.Service.Account, Generation: home.Service.Generation, Key: home.Service.Key,
			URL: home.URL, Others: home.Others, Handle: string(home.Handle),
		}
		list := []keptOffice{next}
		if old != nil {
			k := old.kept()
			k.Until = b.now + ms(drainFor)
			list = append(list, k)
		}
		for _, f := range former {
			list = append(list, f.kept())
		}
		b.notes[officesNote] = wire.Encode(list)
		for id := range a.rooms {
			r, err := b.room(id)
			if err != nil {
				return err
			}
			r.Made = false
			b.hurry(id)
			if old != nil && !a.own(r) {
				if err := b.tellMoved(id, r, home); err != nil {
					return err
				}
			}
		}
		b.then = append(b.then, func() {
			for _, gone := range a.offices.former {
				if !slices.Contains(former, gone) && gone.cancel != nil {
					gone.cancel()
				}
			}
			a.offices.former = former
			if old != nil {
				old.until = b.now + ms(drainFor)
				a.offices.former = append([]*reading{old}, former...)
			}
			a.offices.now = next.reading()
		})
		return nil
	})
	if err == nil && moved {
		text := "mail is now kept by " + nameOf(home)
		if old != nil {
			text += "; what is left at " + nameOf(old.office) + " is fetched from there"
		}
		a.feed.tell(Notice{Type: "office", Text: text})
		a.log.Info("concierge chosen", "concierge", nameOf(home))
	}
	return err
}

func nameOf(o post.Office) string {
	if o.Handle != "" {
		return "@" + string(o.Handle)
	}
	return o.Service.Account.String()[:8]
}

// tellMoved tells a contact that this account's mail is elsewhere. They would
// find out from the chain too; this saves the wait.
func (b *batch) tellMoved(id message.ConversationID, r *room, home post.Office) error {
	c, err := b.contact(r.With.Account)
	if err != nil || c.State != store.Accepted {
		return err
	}
	l, _ := b.a.roster.cached(b.a.o.Account)
	reach, ok := b.a.reach(r, b.a.party())
	if !ok {
		return nil
	}
	_, err = b.make(id, r, message.Moved{
		Concierge: message.Party{Account: home.Service.Account, Generation: home.Service.Generation},
		EntrySeq:  l.entry.Seq, Reach: reach.Encode(),
	})
	return err
}

// followAll reads all concierges that are to be read, for as long as the agent
// runs: whoever has them chosen may be gone long before.
func (a *Agent) followAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx := a.running
	if ctx == nil {
		return
	}
	now := a.now()
	a.offices.former = slices.DeleteFunc(a.offices.former, func(r *reading) bool {
		if r.until > now {
			return false
		}
		if r.cancel != nil {
			r.cancel()
		}
		return true
	})
	for _, r := range append([]*reading{a.offices.now}, a.offices.former...) {
		if r == nil || r.cancel != nil {
			continue
		}
		a.addBoxes(r)
		fctx, cancel := context.WithCancel(ctx)
		r.cancel = cancel
		office := r.office
		service := office.Service.Account
		a.following.Go(func() {
			err := a.post.Follow(fctx, office, r.boxes, func(ctx context.Context, box stream.ID, page stream.Page) error {
				return a.take(ctx, r.boxes, source(service, box), box, page)
			}, func(s post.State) { a.stateOf(r, s) })
			if err != nil && fctx.Err() == nil {
				a.log.Warn("reading a concierge ended", "concierge", nameOf(office), "error", err)
			}
			a.mu.Lock()
			r.cancel = nil
			a.mu.Unlock()
		})
	}
}

// addBoxes has everything read that this account has at a concierge; a.mu is
// held.
func (a *Agent) addBoxes(r *reading) {
	boxes := slices.Collect(maps.Keys(a.byBox))
	for _, box := range append(boxes, a.knockBox()) {
		a.addBox(r, box)
	}
}

func (a *Agent) addBox(r *reading, box stream.ID) {
	if _, ok := r.boxes.After(box); ok {
		return
	}
	name := source(r.office.Service.Account, box)
	var after uint64
	var head stream.Head
	err := a.store.View(func(tx *store.Tx) (err error) {
		if after, err = tx.Cursor(name); err != nil {
			return err
		}
		raw, err := tx.Get(headNote(name))
		if err == nil {
			err = wire.Decode(raw, &head, maxHeadNote)
		}
		if wire.CodeOf(err) == wire.NotFound {
			err = nil
		}
		return err
	})
	if err != nil {
		a.log.Error("read how far a box was read", "error", err)
		return
	}
	if after > 0 && head.Seq == after {
		r.boxes.AddAt(box, head)
	} else {
		r.boxes.Add(box, after)
	}
}

// headNote is the note with the hash over all that was read of a box, which tells a
// box that was rolled back and has grown since.
func headNote(source string) string { return "head/" + source }

// maxHeadNote is the most bytes of such a note.
const maxHeadNote = 64

// stateOf takes news of a connection.
func (a *Agent) stateOf(r *reading, s post.State) {
	a.mu.Lock()
	was := r.state
	r.state = s
	office, view, present := r.office, a.officeView(r, s), r == a.offices.now
	a.mu.Unlock()
	var rolled *post.Rolled
	var gap *post.Gap
	var missing *post.Missing
	service := office.Service.Account
	switch {
	case errors.As(s.Err, &rolled):
		a.log.Warn("a concierge has less mail than it had", "concierge", nameOf(office), "error", s.Err)
		if err := a.store.Update(func(tx *store.Tx) error { return tx.DropInbox(source(service, rolled.Box)) }); err != nil {
			a.log.Error("begin a box anew", "error", err)
		}
		a.feed.tell(Notice{Type: "notice", Text: nameOf(office) + " has lost or hides mail that it had before; contacts are asked to send again what is missing"})
		a.robbed(rolled.Box)
	case errors.As(s.Err, &gap):
		a.feed.tell(Notice{Type: "notice", Text: nameOf(office) + " let go of mail before it was fetched; contacts are asked to send it again"})
		if present { // a former one passes on what it lets go of
			a.goneBefore(gap.Box)
		}
		a.robbed(gap.Box)
	case errors.As(s.Err, &missing):
		a.remake(missing.Box)
	case was.Connected != s.Connected:
		a.feed.tell(Notice{Type: "office", Office: &view})
		if s.Connected {
			a.hurryAll()
		}
	}
}

// remake has a queue made again that the concierge does not know.
func (a *Agent) remake(box stream.ID) {
	err := a.change(context.Background(), func(b *batch) error {
		id, ok := a.byBox[box]
		if !ok {
			return nil
		}
		r, err := b.room(id)
		if err == nil {
			r.Made = false
			b.hurry(id)
		}
		return err
	})
	if err != nil {
		a.log.Error("have a queue made again", "error", err)
	}
}

// readBoxes makes sure that a room's queue is there and is read.
func (a *Agent) readBoxes(ctx context.Context, id message.ConversationID) error {
	office, err := a.present()
	if err != nil {
		return err
	}
	a.mu.Lock()
	r, ok := a.rooms[id]
	a.mu.Unlock()
	if !ok {
		return wire.Errorf(wire.NotFound, "there is no conversation %v", id)
	}
	if !r.Made && len(r.Seed) == 32 {
		err := a.post.Ask(ctx, office, func(ctx context.Context, c *concierge.Client) error {
			_, err := c.CreateQueue(ctx, concierge.Seed(r.Seed), stream.Settings{})
			return err
		})
		if err != nil {
			return err
		}
		err = a.change(ctx, func(b *batch) error {
			r, err := b.room(id)
			if err == nil {
				r.Made = true
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	a.lookAt(ctx, id, r.Address.Queue())
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range append([]*reading{a.offices.now}, a.offices.former...) {
		if o != nil {
			a.addBox(o, r.Address.Queue())
		}
	}
	return nil
}

// closeRoom forgets a room and stops reading its queue; a.mu is held.
func (a *Agent) closeRoom(id message.ConversationID, address concierge.Address) {
	delete(a.rooms, id)
	delete(a.times, id)
	delete(a.hurry, id)
	delete(a.looked, id)
	delete(a.anew, id)
	delete(a.heads, id)
	delete(a.byBox, address.Queue())
	for _, o := range append([]*reading{a.offices.now}, a.offices.former...) {
		if o != nil {
			o.boxes.Remove(address.Queue())
		}
	}
}

// deleteQueue lets go of a queue; if that cannot be done now its mail expires.
func (a *Agent) deleteQueue(ctx context.Context, box stream.ID) {
	office, err := a.present()
	if err == nil {
		err = a.post.Ask(ctx, office, func(ctx context.Context, c *concierge.Client) error { return c.DeleteQueue(ctx, box) })
	}
	if err != nil {
		a.log.Info("a queue stays at the concierge until it expires", "error", err)
	}
}

func (a *Agent) officeView(r *reading, s post.State) Office {
	o := Office{
		Account: r.office.Service.Account, Handle: string(r.office.Handle), URL: r.office.URL,
		Connected: s.Connected, Since: s.Since, Former: r.until != 0,
	}
	if o.Handle != "" {
		o.Handle = "@" + o.Handle
	}
	if s.Err != nil {
		o.Trouble = s.Err.Error()
	}
	if r.until != 0 {
		o.Until = time.UnixMilli(int64(r.until)).UTC()
	}
	return o
}

// Concierges returns the concierge in use, first, and those that were left and
// are still read.
func (a *Agent) Concierges(context.Context) ([]Office, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Office
	for _, r := range append([]*reading{a.offices.now}, a.offices.former...) {
		if r != nil {
			out = append(out, a.officeView(r, r.state))
		}
	}
	return out, nil
}
