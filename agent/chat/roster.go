package chat

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

// roster is what the chain says of accounts, as it was last asked: proven by the
// light client, and as old as it says.
type roster struct {
	client *lightclient.Client
	now    func() time.Time

	mu     sync.Mutex
	list   map[namesvc.AccountID]listed
	silent time.Time // when the chain did not answer last, zero if it did since
	why    error
}

// listed is an account as it was proven at a time.
type listed struct {
	entry   namesvc.Entry
	devices namesvc.Devices
	proven  time.Time // the head's time
	asked   time.Time // by the clock here
	none    bool      // it is proven that there is no such account
}

// maxListed bounds the accounts that are remembered; the oldest are asked again.
const maxListed = 4096

func newRoster(c *lightclient.Client, now func() time.Time) *roster {
	return &roster{client: c, now: now, list: map[namesvc.AccountID]listed{}}
}

// askError says that a decision needs to know more of an account.
type askError struct{ account namesvc.AccountID }

func (e *askError) Error() string { return fmt.Sprintf("the chain must be asked about %v", e.account) }

// Unwrap returns an error of kind Unavailable.
func (e *askError) Unwrap() error { return wire.Errorf(wire.Unavailable, "%s", e.Error()) }

// cached returns what is known of an account.
func (r *roster) cached(id namesvc.AccountID) (listed, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.list[id]
	return l, ok
}

// ask returns an account as it was at most maxAge ago; 0 asks in any case. Else a
// chain that did not answer a moment ago is not asked again.
func (r *roster) ask(ctx context.Context, id namesvc.AccountID, maxAge time.Duration) (listed, error) {
	if l, ok := r.cached(id); ok && !l.none && maxAge > 0 && r.age(l) < maxAge {
		return l, nil
	}
	if err := r.silence(); err != nil && maxAge > 0 {
		return listed{}, err
	}
	e, d, p, err := r.client.Devices(ctx, id, 0)
	r.heard(ctx, err)
	if wire.CodeOf(err) == wire.NotFound {
		r.keep(id, listed{asked: r.now(), none: true})
	}
	if err != nil {
		return listed{}, fmt.Errorf("ask the chain about %v: %w", id, err)
	}
	l := listed{entry: e, devices: d, proven: p.Time, asked: r.now()}
	r.keep(id, l)
	return l, nil
}

// silence returns why the chain did not answer, if that was just now.
func (r *roster) silence() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why == nil || past(uint64(r.silent.UnixMilli()), silence, uint64(r.now().UnixMilli())) {
		return nil
	}
	return r.why
}

// heard takes note of whether the chain answered.
func (r *roster) heard(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // that was not the chain
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent, r.why = time.Time{}, nil
	if code := wire.CodeOf(err); err != nil && (code == wire.Unavailable || code == wire.Stale) {
		r.silent, r.why = r.now(), err
	}
}

// age returns how long ago an account was asked for. What a clock that has been
// set back since puts into the future may be of any age.
func (r *roster) age(l listed) time.Duration {
	if age := r.now().Sub(l.asked); age >= 0 {
		return age
	}
	return 1<<63 - 1
}

func (r *roster) keep(id namesvc.AccountID, l listed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) >= maxListed {
		oldest := id
		for k, v := range r.list {
			if o, ok := r.list[oldest]; !ok || v.asked.Before(o.asked) {
				oldest = k
			}
		}
		delete(r.list, oldest)
	}
	r.list[id] = l
}

// selfNote is the note that says what the chain said last of the own account.
const selfNote = "self"

// keptListed is how that is kept.
type keptListed struct {
	_       struct{} `cbor:",toarray"`
	Entry   []byte
	Devices []byte
	Proven  uint64 // ms
	Asked   uint64 // ms
}

// keepSelf keeps what the chain says of the own account, for a start while it is
// silent.
func (a *Agent) keepSelf(l listed) error {
	if had, err := a.keptSelf(); err == nil && had.entry.Seq == l.entry.Seq && had.devices.Seq == l.devices.Seq {
		return nil
	}
	k := keptListed{Entry: l.entry.Encode(), Devices: l.devices.Encode(), Proven: uint64(l.proven.UnixMilli()), Asked: uint64(l.asked.UnixMilli())}
	return a.store.Update(func(tx *store.Tx) error { return tx.Put(selfNote, wire.Encode(k)) })
}

// keptSelf returns what keepSelf kept. The error is of kind NotFound if that is
// nothing yet.
func (a *Agent) keptSelf() (l listed, err error) {
	var raw []byte
	err = a.store.View(func(tx *store.Tx) (err error) {
		raw, err = tx.Get(selfNote)
		return err
	})
	if err != nil {
		return l, err
	}
	var k keptListed
	if err := wire.Recall(raw, &k); err != nil {
		return l, wire.Errorf(wire.Invalid, "database: what is known of this account is damaged: %w", err)
	}
	l.proven, l.asked = at(k.Proven), at(k.Asked)
	if l.entry, err = namesvc.DecodeEntry(k.Entry); err == nil {
		l.devices, err = namesvc.DecodeDevices(k.Devices)
	}
	return l, err
}

// members returns the devices that speak for the account.
func (l listed) members() []e2ee.Member {
	var out []e2ee.Member
	for _, d := range l.devices.List {
		if d.Scopes&namesvc.ScopeMessage == 0 || d.Expires <= uint64(l.proven.Unix()) {
			continue
		}
		out = append(out, e2ee.Member{Account: l.entry.Account, Generation: l.entry.Generation, Device: d.Key, Seq: l.devices.Seq})
	}
	return out
}

func (l listed) lists(k key.Public) bool {
	return slices.ContainsFunc(l.members(), func(m e2ee.Member) bool { return m.Device == k })
}

// party returns the account at its generation.
func (l listed) party() message.Party {
	return message.Party{Account: l.entry.Account, Generation: l.entry.Generation}
}

// settle is how long after an answer a device that is not in it is not asked for
// again: a block or so.
const settle = 3 * time.Second

// judge says whether a member is a device of its account, by what is known. An
// *askError says that the chain must be asked first.
func (r *roster) judge(m e2ee.Member) error {
	l, ok := r.cached(m.Account)
	age := r.age(l)
	switch {
	case ok && l.none && age <= settle:
		return wire.Errorf(wire.Unauthorized, "there is no account %v", m.Account)
	case !ok || age > judgeAge || m.Generation > l.entry.Generation || m.Seq > l.devices.Seq && age > settle:
		return &askError{m.Account}
	case m.Generation < l.entry.Generation:
		return wire.Errorf(wire.Unauthorized, "account %v has another owner since generation %d", m.Account, l.entry.Generation)
	case l.lists(m.Device):
		return nil
	case age > settle:
		return &askError{m.Account}
	}
	return wire.Errorf(wire.Unauthorized, "account %v does not list this device", m.Account)
}

// oldest returns an *askError for a party of a room whose devices were not asked
// for just now, nil if all were.
func (a *Agent) oldest(r *room) error {
	for _, p := range a.parties(r) {
		if l, ok := a.roster.cached(p.Account); !ok || a.roster.age(l) > settle {
			return &askError{p.Account}
		}
	}
	return nil
}

// party returns who this agent is.
func (a *Agent) party() message.Party {
	if l, ok := a.roster.cached(a.o.Account); ok {
		return l.party()
	}
	return message.Party{Account: a.o.Account, Generation: 1}
}

// member returns this device.
func (a *Agent) member() e2ee.Member {
	l, _ := a.roster.cached(a.o.Account)
	p := a.party()
	return e2ee.Member{Account: p.Account, Generation: p.Generation, Device: a.o.Keys.Device.Public(), Seq: l.devices.Seq}
}

func (a *Agent) author() message.Author {
	return message.Author{Account: a.o.Account, Device: a.o.Keys.Device.Public()}
}
