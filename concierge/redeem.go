package concierge

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

const (
	// pairRate and pairBurst are the knocks of one issuer's users to one account,
	// in a second and at once: a knock queue holds a hundred, and no single
	// issuer shall fill it.
	pairRate  = 20.0 / (24 * 60 * 60)
	pairBurst = 20
	// maxIssuers are known in one epoch: each may spend as many tokens as
	// Limits.IssuerTokens says, of 64 bytes.
	maxIssuers = 1024
	// maxKnownKeys of issuers stay in memory.
	maxKnownKeys = 256
	// maxFetches of issuers' keys are under way at once, and each takes at most
	// fetchTime.
	maxFetches = 8
	fetchTime  = 10 * time.Second
	// fetchAgain is when a key is asked for again that could not be had.
	fetchAgain = time.Minute
)

var errTokenSpent error = wire.Errorf(wire.Exists, "this token was spent already: use another one")

// redeem returns why a token does not pay for a knock, if it does not. The same
// token for the same knock is no other knock.
func (t *tokens) redeem(ctx context.Context, network [32]byte, to Owner, k Knock) error {
	s := t.server
	if s.limits.IssuerTokens < 0 {
		return wire.Errorf(wire.Unauthorized, "this concierge takes no tokens: do work instead")
	}
	tok, err := DecodeToken(k.Token)
	if err != nil {
		return err
	}
	now := s.now()
	if at := epochOf(now); tok.Epoch != at && tok.Epoch+1 != at && tok.Epoch != epochOf(now.Add(tokenSkew)) {
		return wire.Errorf(wire.Stale, "token is of epoch %d, and it is %d: get new ones", tok.Epoch, at)
	}
	if !s.strangers.take(network, 1, now) {
		return wire.Errorf(wire.Exhausted, "too many strangers from your network: try again in a minute")
	}
	pk, err := t.issuers.key(ctx, t, tok)
	if err != nil {
		return err
	}
	if err := tok.verify(s.me.Chain, pk); err != nil {
		return err
	}
	if !t.pairs.take(sha256.Sum256(append(tok.Issuer[:len(tok.Issuer):len(tok.Issuer)], to[:]...)), 1, now) {
		return wire.Errorf(wire.Exhausted, "too many knocks for this account from users of that concierge: do work instead, or try again tomorrow")
	}
	return t.spend(ctx, tok, sha256.Sum256(append(to[:len(to):len(to)], k.Body...)))
}

// spentStream is where the spent tokens of an issuer's epoch are.
func (t Token) spentStream() stream.ID {
	b := binary.BigEndian.AppendUint64(nil, t.Epoch)
	b = binary.BigEndian.AppendUint32(b, t.Generation)
	return TagKept.Sum([]byte{keptSpent}, b, t.Issuer[:])
}

// spentIndex is where an epoch's streams of spent tokens are listed.
func spentIndex(epoch uint64) stream.ID {
	return TagKept.Sum([]byte{keptSpent}, binary.BigEndian.AppendUint64(nil, epoch))
}

// spend makes durable that a token was used, and for what. It is the store that
// says which of two was first, in whatever processes they came.
func (t *tokens) spend(ctx context.Context, tok Token, what [32]byte) error {
	sum := TagToken.Sum(tok.Nonce[:])
	m := stream.Message{ID: stream.MessageID(sum[:16]), Body: what[:]}
	id := tok.spentStream()
	_, err := stream.Append(ctx, t.server.store, id, m)
	if errors.Is(err, stream.ErrNotFound) {
		if err := t.begin(ctx, tok); err != nil {
			return err
		}
		_, err = stream.Append(ctx, t.server.store, id, m)
	}
	switch {
	case errors.Is(err, stream.ErrReused):
		return errTokenSpent
	case errors.Is(err, stream.ErrFull):
		return wire.Errorf(wire.Exhausted, "users of that concierge have knocked as often today as this one takes: do work instead, or try again tomorrow")
	}
	return err
}

// begin makes the stream of an issuer's spent tokens, and lists it first.
func (t *tokens) begin(ctx context.Context, tok Token) error {
	store, id, index := t.server.store, tok.spentStream(), spentIndex(tok.Epoch)
	if err := store.Configure(ctx, index, stream.Settings{MaxEntries: maxIssuers}); err != nil {
		return err
	}
	_, err := stream.Append(ctx, store, index, stream.Message{ID: stream.MessageID(id[:16]), Body: id[:]})
	if errors.Is(err, stream.ErrFull) {
		return wire.Errorf(wire.Exhausted, "tokens of too many concierges came today: do work instead")
	}
	if err != nil {
		return err
	}
	return store.Configure(ctx, id, stream.Settings{MaxEntries: uint64(t.server.limits.IssuerTokens)})
}

// forget lets go of the tokens that were spent in an epoch.
func (t *tokens) forget(ctx context.Context, epoch uint64) error {
	store, index := t.server.store, spentIndex(epoch)
	for after := uint64(0); ; {
		page, err := store.Range(ctx, index, after, stream.MaxPage)
		if errors.Is(err, stream.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if len(e.Body) == len(stream.ID{}) {
				if err := store.Delete(ctx, stream.ID(e.Body)); err != nil {
					return err
				}
			}
		}
		if after = page.Last(); after >= page.Head {
			return store.Delete(ctx, index)
		}
	}
}

// issuerOf names one key of one issuer.
type issuerOf struct {
	account    namesvc.AccountID
	generation uint32
	epoch      uint64
}

// issuers has the keys of other concierges that are in use, and which could not
// be had.
type issuers struct {
	mu       sync.Mutex
	known    map[issuerOf]*issuerKey
	fetching chan struct{}
}

// issuerKey is one of them; once done is closed, nothing of it changes.
type issuerKey struct {
	done chan struct{}
	key  *rsa.PublicKey
	err  error
	at   time.Time
}

func newIssuers() issuers {
	return issuers{known: map[issuerOf]*issuerKey{}, fetching: make(chan struct{}, maxFetches)}
}

// key returns the key that a token says it is signed with; it is fetched once for
// all who wait for it.
func (i *issuers) key(ctx context.Context, t *tokens, tok Token) (*rsa.PublicKey, error) {
	id := issuerOf{tok.Issuer, tok.Generation, tok.Epoch}
	i.mu.Lock()
	k := i.known[id]
	if k != nil && k.over() && k.err != nil && time.Since(k.at) > fetchAgain {
		k = nil
	}
	if k == nil {
		if !i.room() {
			i.mu.Unlock()
			return nil, errIssuers
		}
		select {
		case i.fetching <- struct{}{}:
		default:
			i.mu.Unlock()
			return nil, errIssuers
		}
		k = &issuerKey{done: make(chan struct{})}
		i.known[id] = k
		t.server.running.Go(func() {
			defer func() { <-i.fetching }()
			fctx, cancel := context.WithTimeout(t.server.ctx, fetchTime)
			defer cancel()
			k.key, k.err = t.fetch(fctx, id)
			k.at = time.Now()
			close(k.done)
		})
	}
	i.mu.Unlock()
	select {
	case <-k.done:
		return k.key, k.err
	case <-ctx.Done():
		return nil, wire.Errorf(wire.Unavailable, "the token's issuer has not answered yet: try again, or do work instead")
	}
}

var errIssuers error = wire.Errorf(wire.Unavailable, "keys of too many issuers are asked for just now: try again in a minute, or do work instead")

func (k *issuerKey) over() bool {
	select {
	case <-k.done:
		return true
	default:
		return false
	}
}

// room makes room for one more key: what could not be had goes first, then what
// is oldest. i.mu is held.
func (i *issuers) room() bool {
	if len(i.known) < maxKnownKeys {
		return true
	}
	var worst issuerOf
	var found *issuerKey
	for id, k := range i.known {
		if !k.over() {
			continue
		}
		if found == nil || (k.err != nil) != (found.err != nil) && k.err != nil || (k.err != nil) == (found.err != nil) && k.at.Before(found.at) {
			worst, found = id, k
		}
	}
	if found != nil {
		delete(i.known, worst)
	}
	return found != nil
}

// fetch asks the chain who an issuer is, and him for his key of an epoch.
func (t *tokens) fetch(ctx context.Context, id issuerOf) (*rsa.PublicKey, error) {
	s := t.server
	svc, urls, err := s.serviceAt(ctx, id.account)
	if err != nil {
		if code := wire.CodeOf(err); code == wire.Invalid || proven(err) {
			return nil, wire.Errorf(wire.Unauthorized, "token is of no concierge on this chain")
		}
		return nil, err
	}
	if svc.Generation != id.generation {
		return nil, wire.Errorf(wire.Unauthorized, "token is of generation %d of its issuer, which has generation %d", id.generation, svc.Generation)
	}
	if id.account == s.me.Account {
		k, err := t.key(ctx, id.epoch, false)
		if err != nil {
			return nil, wire.Errorf(wire.Unauthorized, "token is of an epoch in which none were issued")
		}
		return &k.PublicKey, nil
	}
	err = wire.Errorf(wire.Unavailable, "the token's issuer has no URL")
	for _, u := range urls {
		var k *rsa.PublicKey
		if k, err = t.fetchFrom(ctx, u, svc, id.epoch); err == nil {
			return k, nil
		}
	}
	return nil, err
}

// fetchFrom asks at one URL. Any certificate will do: the answer is signed.
func (t *tokens) fetchFrom(ctx context.Context, base string, svc Service, epoch uint64) (*rsa.PublicKey, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !onThisMachine(u.Hostname())) {
		return nil, wire.Errorf(wire.Unavailable, "the token's issuer has no URL that can be asked")
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/v1/issuer"
	u.RawQuery = fmt.Sprintf("epoch=%d", epoch)
	client := http.Client{
		Transport: &http.Transport{
			DialContext: t.server.reach, DisableKeepAlives: true, MaxResponseHeaderBytes: 8 << 10,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, wire.Errorf(wire.Unavailable, "ask the token's issuer: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, wire.Errorf(wire.Unavailable, "the token's issuer does not answer: do work instead, or try again later")
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxIssuer+1))
	if err != nil || res.StatusCode != http.StatusOK || len(b) > maxIssuer {
		return nil, wire.Errorf(wire.Unavailable, "the token's issuer does not give its key (status %d)", res.StatusCode)
	}
	var i Issuer
	if err := wire.Decode(b, &i, maxIssuer); err != nil {
		return nil, wire.Errorf(wire.Unauthorized, "the token's issuer gives no key: %w", err)
	}
	if i.Epoch != epoch {
		return nil, wire.Errorf(wire.Unauthorized, "the token's issuer gives the key of another epoch")
	}
	return i.Check(svc)
}

// taking is what the figures call the end of a redemption.
func taking(err error) string {
	if err == nil {
		return "taken"
	}
	return wire.CodeOf(err).String()
}
