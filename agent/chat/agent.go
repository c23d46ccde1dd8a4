package chat

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/agent/post"
	"github.com/confab-chat/confab/agent/ratchet"
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

// Options are what an Agent is made of.
type Options struct {
	Home    string // a folder of its own: messages and secrets of this account on this device
	Client  *lightclient.Client
	Account namesvc.AccountID
	Keys    keyring.Keys
	Hops    post.Hops
	// Documents is the folder of the account's own profile and picture, each under
	// its id in hexadecimal; empty if this device has none to give out.
	Documents string
	Logger    *slog.Logger     // nil discards
	Now       func() time.Time // nil for time.Now
	Rand      io.Reader        // nil for crypto/rand
	// Every is how often conversations are compared with the chain when nothing
	// calls for it; 0 for the default.
	Every time.Duration
}

// An Agent acts for a person in conversations. Its methods may be called from
// several goroutines. Errors have a kind of package wire.
type Agent struct {
	o       Options
	log     *slog.Logger
	store   *store.Store
	disk    disk // the store, as changes are written to it
	secrets *ratchet.Ratchet
	unsure  bool // whether the last write is done: what is in memory may be older
	post    *post.Post
	roster  *roster
	feed    *feed

	send, tend, vault, shows chan struct{} // something to send; to look after; to copy to the vault; to show

	mu       sync.Mutex // held while conversations change
	rooms    map[message.ConversationID]*room
	byBox    map[stream.ID]message.ConversationID
	sessions *sessions
	offices  offices
	hurry    map[message.ConversationID]bool // to be looked after at once
	times    map[message.ConversationID]timing
	tending  map[message.ConversationID]bool          // are tended now; whether that failed the last time
	knocking map[message.ConversationID]chan struct{} // requests that are being left just now
	looked   map[message.ConversationID]bool          // whose queue was compared with what was read of it, see copy.go
	anew     map[message.ConversationID]bool          // got a new session since what was here was old
	told     map[string]bool                          // notices that are told once
	selfNext uint64                                   // when the own account is looked after next, ms
	selfBusy bool                                     // it is just now
	alone    uint64                                   // since when other devices are listed and none has spoken, ms

	changed uint64 // counts what was written
	copied  uint64 // up to where it is in the vault
	backup  Backup

	begun   uint64                            // when it was opened, ms
	heads   map[message.ConversationID]uint64 // how many events this device had then
	swept   uint64                            // when what is over was let go of, ms
	asked   []askedHistory                    // what other devices of this account want to know
	running context.Context                   // of Run, nil while it does not run

	linking *linking // the invitation for a new device that is out

	following sync.WaitGroup // who reads concierges
}

// Open opens an account's conversations on this device, making the folder if
// there is none. The error is of kind Unavailable if another process has it open,
// or the chain does not answer the first time; later it need not. It is of kind NotFound if the
// account is not on the chain.
func Open(ctx context.Context, o Options) (_ *Agent, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Every == 0 {
		o.Every = tendEvery
	}
	a := &Agent{
		o: o, log: o.Logger, feed: newFeed(),
		send: make(chan struct{}, 1), tend: make(chan struct{}, 1), vault: make(chan struct{}, 1), shows: make(chan struct{}, 1),
		rooms: map[message.ConversationID]*room{}, byBox: map[stream.ID]message.ConversationID{},
		hurry: map[message.ConversationID]bool{}, times: map[message.ConversationID]timing{}, told: map[string]bool{},
		tending: map[message.ConversationID]bool{}, knocking: map[message.ConversationID]chan struct{}{},
		looked: map[message.ConversationID]bool{}, heads: map[message.ConversationID]uint64{},
		anew: map[message.ConversationID]bool{},
	}
	a.roster, a.begun = newRoster(o.Client, o.Now), a.now()
	a.sessions = newSessions(a)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open conversations: %w", err), a.Close())
		}
	}()
	if err := os.MkdirAll(o.Home, 0o700); err != nil {
		return a, fmt.Errorf("make folder: %w", err)
	}
	seed := o.Keys.Device.Seed()
	defer clear(seed[:])
	if a.store, err = store.Open(filepath.Join(o.Home, "messages.db"), [32]byte(derive(seed, "messages")), o.Account); err != nil {
		return a, err
	}
	a.disk = a.store
	if err := a.openSecrets(); err != nil {
		return a, err
	}
	if err := a.remember(ctx); err != nil {
		return a, err
	}
	a.post = post.New(post.Options{
		Names: o.Client, Self: concierge.Identity{Account: o.Account, Device: o.Keys.Device}, Hops: o.Hops,
		Logger: o.Logger, Now: o.Now, Rand: o.Rand,
	})
	return a, nil
}

// derive returns a key of this device's for one purpose. The device key is
// random and nowhere else, so what these keys protect is bound to this device.
func derive(seed [32]byte, purpose string) []byte {
	k, err := hkdf.Key(sha256.New, seed[:], nil, "confab/agent/1 "+purpose, 32)
	if err != nil {
		panic(err) // the length is a constant
	}
	return k
}

// disk is what a change of conversations is written to: the store, but in tests.
type disk interface {
	Update(func(*store.Tx) error) error
	Generation() (uint64, error)
}

// openSecrets opens the secrets, at what the database says of them.
func (a *Agent) openSecrets() (err error) {
	seed := a.o.Keys.Device.Seed()
	defer clear(seed[:])
	k := [32]byte(derive(seed, "secrets"))
	if a.secrets, err = ratchet.Open(filepath.Join(a.o.Home, "secrets"), k, a.disk, a.o.Rand); err != nil {
		a.secrets, err = a.startAnew(k, err)
	}
	return err
}

// startAnew puts secrets aside that the database does not fit, after one of the
// two was restored from a copy: used again, their keys would encrypt twice. The
// conversations stay, and get new sessions.
func (a *Agent) startAnew(k [32]byte, cause error) (*ratchet.Ratchet, error) {
	var order *ratchet.OrderError
	if !errors.As(cause, &order) && wire.CodeOf(cause) != wire.NotFound && wire.CodeOf(cause) != wire.Invalid {
		return nil, cause
	}
	dir := filepath.Join(a.o.Home, "secrets")
	a.log.Warn("the secrets of this device's conversations are lost or do not fit; every conversation gets a new session", "cause", cause)
	r, err := ratchet.Restart(dir, k, a.disk, a.o.Rand)
	if err != nil {
		return nil, errors.Join(cause, err)
	}
	return r, a.forgetSessions()
}

// remember reads what was kept, and asks the chain who this is. If it does not
// answer, what it said last does.
func (a *Agent) remember(ctx context.Context) error {
	if err := a.store.View(a.recall); err != nil {
		return err
	}
	l, err := a.roster.ask(ctx, a.o.Account, 0)
	if err == nil {
		return a.keepSelf(l)
	}
	if code := wire.CodeOf(err); code != wire.Unavailable && code != wire.Stale && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	kept, lost := a.keptSelf()
	if lost != nil {
		return errors.Join(err, lost)
	}
	a.log.Warn("the chain does not answer; what was known of this account is used", "error", err)
	a.roster.keep(a.o.Account, kept)
	return nil
}

// Close ends all connections and closes the files. Run must have returned.
func (a *Agent) Close() error {
	var errs []error
	if a.post != nil {
		errs = append(errs, a.post.Close())
	}
	a.feed.close()
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}

// Run connects, sends and receives until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.retryAll() // whatever was put off, by whatever clock
	for _, id := range a.roomIDs() {
		a.owe(id) // a receipt that was owed when it was killed; one that says nothing new is not sent
	}
	a.mu.Lock()
	a.running = ctx
	a.mu.Unlock()
	wg.Go(func() { a.sendAll(ctx) })
	wg.Go(func() { a.tendAll(ctx) })
	wg.Go(func() { a.keepVault(ctx) })
	wg.Go(func() { a.keepProfiles(ctx) })
	<-ctx.Done()
	a.mu.Lock()
	a.running = nil // nobody begins to follow from here on
	a.mu.Unlock()
	a.following.Wait()
	return nil
}

// wake sets a signal unless it is set already.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Wake makes everything that waits due now: the network is back, or the person
// asks for it.
func (a *Agent) Wake() {
	a.retryAll()
	a.post.Wake()
	a.hurryAll()
	wake(a.shows)
}

func (a *Agent) now() uint64 { return uint64(a.o.Now().UnixMilli()) }

func ms(d time.Duration) uint64 { return uint64(d.Milliseconds()) }

func at(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}
