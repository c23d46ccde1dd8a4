package concierge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// knocking is a world in which alice is served by @issuer, and carol by @lantern,
// where alice knocks.
type knocking struct {
	*world
	issuer, taker *place
	carol         *fakechain.Actor
}

func newKnocking(t *testing.T, limits Limits) *knocking {
	w := newWorld(t, cheap())
	k := &knocking{world: w, issuer: w.place("issuer", limits), taker: w.place("lantern", limits)}
	k.carol = fakechain.NewActor("carol", namesvc.Person)
	w.must(w.Register(k.carol, "carol", fakechain.ServedBy(k.taker.who)))
	w.serve(w.alice, k.issuer)
	k.issuer.start()
	k.taker.start().connect(k.carol)
	return k
}

func (k *knocking) tokens(n int) []Token {
	k.Helper()
	t, err := k.issuer.connect(k.alice).Tokens(k.Context(), n)
	k.must(err)
	return t
}

// knock has a guest knock with a token.
func (k *knocking) knock(t Token, text string) error {
	return k.knockAt(k.taker.connect(nil), t.Encode(), text)
}

func (k *knocking) knockAt(guest *Client, token []byte, text string) error {
	for {
		err := guest.Knock(k.Context(), Knock{Account: k.carol.ID, Generation: 1, Token: token, Body: []byte(text)})
		// The same again, on a machine with a slow disk.
		if wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "may have") || k.Context().Err() != nil {
			return err
		}
	}
}

func (k *knocking) knocks() []string {
	k.Helper()
	return k.texts(k.taker.connect(k.carol), OwnerOf(k.carol.ID, 1).Knocks())
}

func TestToken_PaysForOneKnock(t *testing.T) {
	k := newKnocking(t, cheap())
	list := k.tokens(3)
	k.must(k.knock(list[0], "hello"))
	k.must(k.knock(list[0], "hello")) // the answer was lost
	if err := k.knock(list[0], "another"); wire.CodeOf(err) != wire.Exists {
		t.Errorf("spent twice: %v", err)
	}
	k.must(k.knock(list[1], "another"))
	if got := k.knocks(); fmt.Sprint(got) != "[hello another]" {
		t.Errorf("carol has %q", got)
	}
	// A restart knows which were spent, and whose key it is.
	k.taker.stop()
	k.issuer.stop()
	k.taker.start()
	k.issuer.start()
	if err := k.knock(list[1], "a third"); wire.CodeOf(err) != wire.Exists {
		t.Errorf("spent twice across a restart: %v", err)
	}
	k.must(k.knock(list[2], "a third"))
	// Its own users' tokens are as good as others'.
	k.serve(k.alice, k.taker)
	own, err := k.taker.connect(k.alice).Tokens(t.Context(), 1)
	k.must(err)
	k.must(k.knock(own[0], "a neighbour"))
	if got := k.knocks(); len(got) != 4 {
		t.Errorf("carol has %q", got)
	}
}

func TestToken_OfTwoAtOnceOneIsSpent(t *testing.T) {
	k := newKnocking(t, cheap())
	other := k.serverOf(k.taker.service(), k.taker.who, k.taker.store, k.taker.limits)
	t.Cleanup(func() { other.Close(context.Background()) })
	ts := httptest.NewUnstartedServer(other.Handler())
	ts.EnableHTTP2 = false
	ts.StartTLS()
	t.Cleanup(ts.Close)
	guests := []*Client{k.taker.connect(nil), k.taker.connect(nil)}
	for range 2 {
		c, err := Dial(t.Context(), ts.URL, k.taker.service(), nil)
		k.must(err)
		t.Cleanup(func() { c.Close() })
		guests = append(guests, c)
	}
	token := k.tokens(1)[0].Encode()
	var wait sync.WaitGroup
	var taken atomic.Int64
	for i, g := range guests {
		wait.Go(func() {
			err := k.knockAt(g, token, fmt.Sprint("from ", i))
			if err == nil {
				taken.Add(1)
			} else if wire.CodeOf(err) != wire.Exists {
				t.Errorf("%v", err)
			}
		})
	}
	wait.Wait()
	if n := taken.Load(); n != 1 || len(k.knocks()) != 1 {
		t.Errorf("%d were taken, and carol has %q", n, k.knocks())
	}
}

func TestToken_RefusesWhatNobodyIssued(t *testing.T) {
	k := newKnocking(t, cheap())
	good := k.tokens(1)[0]
	bob := OwnerOf(k.carol.ID, 1)
	for name, c := range map[string]struct {
		spoil func(*Token)
		want  wire.Code
	}{
		"another nonce":                {func(t *Token) { t.Nonce[0]++ }, wire.Unauthorized},
		"another signature":            {func(t *Token) { t.Signature[9]++ }, wire.Unauthorized},
		"a signature of zeros":         {func(t *Token) { clear(t.Signature) }, wire.Unauthorized},
		"a signature above the key":    {func(t *Token) { t.Signature = bytes.Repeat([]byte{0xff}, tokenSize) }, wire.Unauthorized},
		"a short signature":            {func(t *Token) { t.Signature = t.Signature[:10] }, wire.Invalid},
		"another concierge's name":     {func(t *Token) { t.Issuer = k.taker.who.ID }, wire.Unauthorized},
		"a person's":                   {func(t *Token) { t.Issuer = k.carol.ID }, wire.Unauthorized},
		"nobody's":                     {func(t *Token) { t.Issuer = namesvc.AccountID{1} }, wire.Unauthorized},
		"another generation of issuer": {func(t *Token) { t.Generation++ }, wire.Unauthorized},
		"an old epoch":                 {func(t *Token) { t.Epoch -= 2 }, wire.Stale},
		"an epoch to come":             {func(t *Token) { t.Epoch++ }, wire.Stale},
		"no epoch":                     {func(t *Token) { t.Epoch = 1<<64 - 1 }, wire.Stale},
		"yesterday's, when none were":  {func(t *Token) { t.Epoch-- }, wire.Unavailable},
	} {
		spoilt := good
		spoilt.Signature = bytes.Clone(good.Signature)
		c.spoil(&spoilt)
		if err := k.knock(spoilt, name); wire.CodeOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := k.knockAt(k.taker.connect(nil), []byte("no token"), "x"); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("no token at all: %v", err)
	}
	if _, err := k.taker.store.State(t.Context(), bob.Knocks()); err != nil || len(k.knocks()) != 0 {
		t.Errorf("somebody got through: %q, %v", k.knocks(), err)
	}
	k.must(k.knock(good, "the good one"))
}

func TestToken_EndsWithTheDayAfterIts(t *testing.T) {
	k := newKnocking(t, cheap())
	list := k.tokens(2)
	k.later(tokenEpoch)
	k.must(k.knock(list[0], "yesterday's"))
	if got := list[1].Until(); !got.After(k.now()) || got.Sub(k.now()) > tokenEpoch {
		t.Errorf("it says that it is good until %v, and it is %v", got, k.now())
	}
	spent := list[0].spentStream()
	k.must(k.taker.server.tokens.sweep(t.Context()))
	if _, err := k.taker.store.State(t.Context(), spent); err != nil {
		t.Errorf("forgotten too early: %v", err)
	}
	k.later(tokenEpoch)
	if err := k.knock(list[1], "too late"); wire.CodeOf(err) != wire.Stale {
		t.Errorf("the day after: %v", err)
	}
	k.later(tokenSkew)
	k.must(k.taker.server.tokens.sweep(t.Context()))
	k.must(k.issuer.server.tokens.sweep(t.Context()))
	for _, id := range []stream.ID{spent, spentIndex(list[0].Epoch)} {
		if _, err := k.taker.store.State(t.Context(), id); !errors.Is(err, stream.ErrNotFound) {
			t.Errorf("spent tokens are kept for ever: %v", err)
		}
	}
	if _, err := k.issuer.store.State(t.Context(), keyStream(list[0].Epoch)); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("the old key is kept for ever: %v", err)
	}
}

func TestToken_LimitsHoldForAccountsAndIssuers(t *testing.T) {
	limits := cheap()
	limits.Tokens, limits.IssuerTokens = 30, 4
	k := newKnocking(t, limits)
	list := k.tokens(20)
	k.issuer.stop()
	k.issuer.start()
	more, err := k.issuer.connect(k.alice).Tokens(t.Context(), 20)
	if wire.CodeOf(err) != wire.Exhausted || len(more) > 10 {
		t.Errorf("%d more than allowed: %v", len(more), err)
	}
	for i := range 5 {
		err := k.knock(list[i], fmt.Sprint(i))
		if i < 4 && err != nil || i == 4 && wire.CodeOf(err) != wire.Exhausted {
			t.Errorf("knock %d: %v", i, err)
		}
	}
	// The next day is another one.
	k.later(tokenEpoch)
	list = k.tokens(30)
	k.must(k.knock(list[0], "tomorrow"))
	// No issuer fills one account's queue alone.
	k.taker.stop()
	k.taker.limits.IssuerTokens = 500
	k.taker.start()
	k.later(tokenEpoch)
	list = k.tokens(30)
	var last error
	for i := range pairBurst + 1 {
		if last != nil {
			t.Fatalf("knock %d: %v", i, last)
		}
		last = k.knock(list[i], fmt.Sprint("again ", i))
	}
	if wire.CodeOf(last) != wire.Exhausted {
		t.Errorf("one issuer fills the queue: %v", last)
	}
}

func TestToken_OnlyForWhoIsServed(t *testing.T) {
	k := newKnocking(t, cheap())
	if _, err := k.issuer.connect(nil).Tokens(t.Context(), 1); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("a guest: %v", err)
	}
	a := k.issuer.connect(k.alice)
	k.serve(k.alice, k.taker)
	k.later(lookEvery)
	k.eventually("she is not served any more", func() bool {
		c, err := k.issuer.try(k.alice)
		if err != nil {
			return false
		}
		_, err = c.Tokens(t.Context(), 1)
		return wire.CodeOf(err) == wire.Unauthorized
	})
	a.Close()
	none := cheap()
	none.Tokens, none.IssuerTokens = -1, -1
	k = newKnocking(t, none)
	if _, err := k.issuer.connect(k.alice).Tokens(t.Context(), 1); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("where none are issued: %v", err)
	}
	if err := k.knock(Token{Signature: make([]byte, tokenSize), Epoch: epochOf(k.now())}, "x"); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("where none are taken: %v", err)
	}
}

func TestToken_RefusesMalformedRequests(t *testing.T) {
	k := newKnocking(t, cheap())
	alice := k.issuer.connect(k.alice)
	i, err := alice.Issuer(t.Context())
	k.must(err)
	for name, b := range map[string]tokensBody{
		"none": {Epoch: i.Epoch}, "too many": {Epoch: i.Epoch, Blinded: make([][]byte, maxTokens+1)},
		"short": {Epoch: i.Epoch, Blinded: [][]byte{{1}}}, "above the key": {Epoch: i.Epoch, Blinded: [][]byte{bytes.Repeat([]byte{0xff}, tokenSize)}},
	} {
		if err := alice.ask(t.Context(), opTokens, b, nil); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := alice.ask(t.Context(), opTokens, tokensBody{Epoch: i.Epoch - 1, Blinded: [][]byte{make([]byte, tokenSize)}}, nil); wire.CodeOf(err) != wire.Stale {
		t.Errorf("yesterday's: %v", err)
	}
}

// Issuers that are not as they should be. None of them costs more than a short
// while, and work is always the other way.
func TestToken_HostileIssuers(t *testing.T) {
	k := newKnocking(t, cheap())
	good := k.tokens(2)
	honest, err := k.issuer.connect(nil).Issuer(t.Context())
	k.must(err)
	fresh := func() { // forgets the key
		k.taker.server.tokens.issuers.mu.Lock()
		defer k.taker.server.tokens.issuers.mu.Unlock()
		clear(k.taker.server.tokens.issuers.known)
	}
	answer := func(i Issuer) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.Write(wire.Encode(i)) }
	}
	signed := func(by key.Server, change func(*Issuer)) Issuer {
		i := honest
		change(&i)
		i.Signature = key.Signature(newSigner(by).sign(TagIssuer, i.signed()))
		return i
	}
	release := make(chan struct{})
	defer close(release)
	for name, c := range map[string]struct {
		say  http.HandlerFunc
		want wire.Code
	}{
		"gives its key signed by another": {answer(signed(k.taker.who.Server, func(*Issuer) {})), wire.Unauthorized},
		"gives another epoch's":           {answer(signed(k.issuer.who.Server, func(i *Issuer) { i.Epoch++ })), wire.Unauthorized},
		"gives another chain's":           {answer(signed(k.issuer.who.Server, func(i *Issuer) { i.Chain = "x" })), wire.Unauthorized},
		"gives a key of a few bits":       {answer(signed(k.issuer.who.Server, func(i *Issuer) { i.Modulus = []byte{15} })), wire.Unauthorized},
		"gives an even key":               {answer(signed(k.issuer.who.Server, func(i *Issuer) { i.Modulus = bytes.Repeat([]byte{0xf0}, tokenSize) })), wire.Unauthorized},
		"gives this verifier another key": {answer(signed(k.issuer.who.Server, func(i *Issuer) { i.Modulus = bytes.Repeat([]byte{0xf1}, tokenSize) })), wire.Unauthorized},
		"says nothing that is understood": {func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("hello")) }, wire.Unauthorized},
		"says it without end": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, wire.Unavailable},
		"sends elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, k.taker.url+"/v1/issuer", http.StatusFound)
		}, wire.Unavailable},
		"is broken": {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }, wire.Unavailable},
		"never answers": {func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}, wire.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			fresh()
			ts := httptest.NewTLSServer(c.say)
			defer ts.Close()
			defer ts.CloseClientConnections()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			k.must(k.Next(k.Sign(k.issuer.who, namesvc.OpRecords, *k.issuer.who.Concierge(ts.URL))))
			k.Skip(1)
			k.later(2 * time.Minute) // what is known of it is older than that
			err := k.taker.server.tokens.redeem(ctx, [32]byte{byte(len(name))}, OwnerOf(k.carol.ID, 1), Knock{Token: good[0].Encode(), Body: []byte(name)})
			if wire.CodeOf(err) != c.want {
				t.Errorf("%v", err)
			}
		})
	}
	// It is itself again.
	k.must(k.Next(k.Sign(k.issuer.who, namesvc.OpRecords, *k.issuer.who.Concierge(k.issuer.url))))
	k.Skip(1)
	k.later(2 * time.Minute)
	fresh()
	k.must(k.knock(good[0], "as it should be"))
}

// What is unknown is asked for once, and not again for a while.
func TestToken_AsksADeadIssuerOnce(t *testing.T) {
	k := newKnocking(t, cheap())
	list := k.tokens(2)
	var asked atomic.Int64
	ts := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		io.WriteString(w, strings.Repeat("x", 10))
	}))
	defer ts.Close()
	k.must(k.Next(k.Sign(k.issuer.who, namesvc.OpRecords, *k.issuer.who.Concierge(ts.URL))))
	k.Skip(1)
	var wait sync.WaitGroup
	guest := k.taker.connect(nil)
	for i := range 10 {
		wait.Go(func() {
			if err := k.knockAt(guest, list[i%2].Encode(), fmt.Sprint(i)); wire.CodeOf(err) != wire.Unauthorized {
				t.Errorf("%v", err)
			}
		})
	}
	wait.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	// So many unknown ones do not fill the memory.
	for i := range 3 * maxKnownKeys {
		tok := list[0]
		tok.Issuer = namesvc.AccountID{byte(i), byte(i >> 8), 9}
		k.taker.server.tokens.issuers.key(t.Context(), k.taker.server.tokens, tok)
	}
	k.taker.server.tokens.issuers.mu.Lock()
	defer k.taker.server.tokens.issuers.mu.Unlock()
	if n := len(k.taker.server.tokens.issuers.known); n > maxKnownKeys {
		t.Errorf("%d keys are remembered", n)
	}
}

// The issuer sees nothing of a token that it could know again: what it signs is
// random to it, and two processes of one issuer have one key.
func TestToken_IssuerHasOneKeyForAll(t *testing.T) {
	k := newKnocking(t, cheap())
	other := k.serverOf(k.issuer.service(), k.issuer.who, k.issuer.store, k.issuer.limits)
	t.Cleanup(func() { other.Close(context.Background()) })
	guest, err := k.issuer.connect(nil).Issuer(t.Context())
	k.must(err)
	device, err := k.issuer.connect(k.alice).Issuer(t.Context())
	k.must(err)
	third, err := other.tokens.issuer(t.Context(), guest.Epoch)
	k.must(err)
	if !bytes.Equal(guest.Modulus, device.Modulus) || !bytes.Equal(guest.Modulus, third.Modulus) {
		t.Error("it shows different keys")
	}
	rec := httptest.NewRecorder()
	k.issuer.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/v1/issuer", nil))
	var public Issuer
	k.must(wire.Decode(rec.Body.Bytes(), &public, maxIssuer))
	if _, err := public.Check(k.issuer.service()); err != nil || !bytes.Equal(public.Modulus, guest.Modulus) {
		t.Errorf("to the public it shows another one: %v", err)
	}
	if _, err := public.Check(k.taker.service()); wire.CodeOf(err) != wire.Unauthorized {
		t.Errorf("it passes for another service's: %v", err)
	}
}

func FuzzDecodeToken(f *testing.F) {
	f.Add(Token{Generation: 1, Epoch: 20000, Signature: make([]byte, tokenSize)}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if tok, err := DecodeToken(b); err == nil && !bytes.Equal(tok.Encode(), b) {
			t.Errorf("%x is encoded as %x", b, tok.Encode())
		}
	})
}

func FuzzIssuer(f *testing.F) {
	who := fakechain.NewActor("issuer", namesvc.Service)
	me := Service{Chain: "c", Account: who.ID, Generation: 1, Key: who.Server.Public()}
	i := Issuer{Version: 1, Chain: "c", Service: who.ID, Generation: 1, Epoch: 5, Modulus: bytes.Repeat([]byte{0xf1}, tokenSize)}
	i.Signature = key.Signature(newSigner(who.Server).sign(TagIssuer, i.signed()))
	good := wire.Encode(i)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		var i Issuer
		if wire.Decode(b, &i, maxIssuer) != nil {
			return
		}
		if _, err := i.Check(me); err == nil && !bytes.Equal(b, good) {
			t.Errorf("%x passes", b)
		}
	})
}
