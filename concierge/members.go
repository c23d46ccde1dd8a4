package concierge

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// Chain is what a concierge asks of the chain; a *lightclient.Client answers.
type Chain interface {
	Devices(ctx context.Context, id namesvc.AccountID, maxAge time.Duration) (namesvc.Entry, namesvc.Devices, lightclient.Proof, error)
	Chain(ctx context.Context) (lightclient.ChainInfo, error)
}

const (
	// lookEvery is how often the chain is asked for a new head: its blocks are
	// about a second apart.
	lookEvery = time.Second
	// askTime bounds one question.
	askTime = 10 * time.Second
	// lookTime bounds a look at all accounts; the next one goes on.
	lookTime = time.Minute
	// askers is how many accounts are looked at again at a time.
	askers = 4
)

// member is an account with connections here, as it was last proven.
type member struct {
	mu       sync.Mutex // held while the chain is asked, so that it is asked once
	entry    namesvc.Entry
	devices  namesvc.Devices
	height   uint64    // of the proof; 0: not asked yet
	proven   time.Time // by our clock
	sessions map[*session]bool
}

// members knows which accounts have connections, and ends those of devices that
// the chain no longer lists.
type members struct {
	chain   Chain
	me      Service
	grace   time.Duration
	now     func() time.Time
	logger  *slog.Logger
	changed func(ctx context.Context, who standing) // the devices of an account are others, or it moved

	mu       sync.Mutex
	head     uint64
	answered time.Time // when the chain last did
	accounts map[namesvc.AccountID]*member
}

// standing is what the chain says of an account that calls.
type standing struct {
	account    namesvc.AccountID
	generation uint32
	deviceSeq  uint64
	readers    []stream.Reader // its devices that may read
	listed     bool            // it names this concierge now
	height     uint64          // of the proof
}

// judgeDevice returns why a device may not act for an account, if it may not.
func judgeDevice(d namesvc.Devices, k key.Public, now time.Time) error {
	dev, ok := d.Find(k)
	switch {
	case !ok:
		return wire.Errorf(wire.Unauthorized, "the account does not list this device: link it again from another one")
	case dev.Expires <= uint64(now.Unix()):
		return wire.Errorf(wire.Unauthorized, "this device's key has expired: renew it from another one")
	case dev.Scopes&namesvc.ScopeMessage == 0:
		return wire.Errorf(wire.Unauthorized, "this device's key may not read or write messages: its scopes are %v", dev.Scopes)
	}
	return nil
}

// standingOf says how an account stands.
func standingOf(me Service, e namesvc.Entry, d namesvc.Devices, now time.Time) standing {
	s := standing{account: e.Account, generation: e.Generation, deviceSeq: d.Seq}
	s.listed = slices.ContainsFunc(e.Records.Concierges, func(c namesvc.Concierge) bool {
		return c.Account == me.Account && c.Generation == me.Generation
	})
	for _, dev := range d.List {
		if judgeDevice(d, dev.Key, now) == nil {
			s.readers = append(s.readers, stream.Reader(dev.Key))
		}
	}
	return s
}

// join admits a session of a device, or says why not. Each join is paired with
// one leave.
func (m *members) join(ctx context.Context, s *session) (standing, error) {
	m.mu.Lock()
	a, head := m.accounts[s.account], m.head
	if a == nil {
		a = &member{sessions: map[*session]bool{}}
		m.accounts[s.account] = a
	}
	a.sessions[s] = true // from here on it is looked at like the others
	m.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.height == 0 || a.height < head || m.now().Sub(a.proven) > lightclient.DefaultMaxAge {
		if err := m.ask(ctx, a, s.account); err != nil && (a.height == 0 || m.now().Sub(a.proven) > m.grace || proven(err)) {
			return standing{}, err
		}
	}
	if err := judgeDevice(a.devices, s.device, m.now()); err != nil {
		return standing{}, err
	}
	return a.standing(m), nil
}

// standing says how an account stands; a.mu is held.
func (a *member) standing(m *members) standing {
	s := standingOf(m.me, a.entry, a.devices, m.now())
	s.height = a.height
	return s
}

// leave forgets a session, and the account with its last one.
func (m *members) leave(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.accounts[s.account]; a != nil {
		if delete(a.sessions, s); len(a.sessions) == 0 {
			delete(m.accounts, s.account)
		}
	}
}

// proven reports whether the chain itself says so.
func proven(err error) bool {
	var answer *lightclient.AnswerError
	return errors.As(err, &answer)
}

// ask reads an account anew; a.mu is held.
func (m *members) ask(ctx context.Context, a *member, id namesvc.AccountID) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	e, d, p, err := m.chain.Devices(ctx, id, 0)
	if err != nil {
		return err
	}
	if p.Height < a.height {
		return wire.Errorf(wire.Stale, "account %v: the answer is older than the last one", id)
	}
	a.entry, a.devices, a.height, a.proven = e.At(uint64(p.Time.Unix())), d, p.Height, m.now()
	return nil
}

// watch looks at all accounts again at each new head, until ctx ends.
func (m *members) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.look(ctx)
		}
	}
}

// look asks for the head and, if there is a newer one, about all accounts.
func (m *members) look(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, lookTime)
	defer stop()
	asking, cancel := context.WithTimeout(ctx, askTime)
	info, err := m.chain.Chain(asking)
	cancel()
	if err != nil {
		m.logger.Warn("the chain does not answer", "error", err)
	}
	m.mu.Lock()
	if err == nil {
		m.head, m.answered = max(m.head, info.Proof.Height), m.now()
	}
	head := m.head
	due := make([]namesvc.AccountID, 0, len(m.accounts))
	for id := range m.accounts {
		due = append(due, id)
	}
	m.mu.Unlock()
	var wait sync.WaitGroup
	work := make(chan namesvc.AccountID)
	for range askers {
		wait.Go(func() {
			for id := range work {
				m.review(ctx, id, head, err == nil)
			}
		})
	}
	for _, id := range due {
		work <- id
	}
	close(work)
	wait.Wait()
}

// review looks at one account again and ends what may not stay. While the chain
// does not answer, only time counts: a question for each account would take
// longer than anybody may stay.
func (m *members) review(ctx context.Context, id namesvc.AccountID, head uint64, answers bool) {
	m.mu.Lock()
	a := m.accounts[id]
	m.mu.Unlock()
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.standing(m)
	var why error
	if a.height < head && answers {
		if err := m.ask(ctx, a, id); proven(err) {
			why = err
		}
	}
	if why == nil && a.height > 0 && m.now().Sub(a.proven) > m.grace {
		why = wire.Errorf(wire.Unavailable, "the chain has not answered for too long")
	}
	m.mu.Lock()
	sessions := make([]*session, 0, len(a.sessions))
	for s := range a.sessions {
		sessions = append(sessions, s)
	}
	m.mu.Unlock()
	for _, s := range sessions {
		err := why
		if err == nil && a.height > 0 {
			err = judgeDevice(a.devices, s.device, m.now())
		}
		if err != nil {
			s.end(err)
		}
	}
	if a.height == 0 || m.changed == nil {
		return
	}
	if now := a.standing(m); now.deviceSeq != before.deviceSeq || now.listed != before.listed {
		m.changed(ctx, now)
	}
}

// freshness returns the newest head and how long ago the chain last answered.
func (m *members) freshness() (uint64, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.head, m.now().Sub(m.answered)
}
