package concierge

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cloudflare/circl/blindsign/blindrsa"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// TagTokenSeal: the key under which an epoch's RSA key is kept, made of the seed
// of the server key.
const TagTokenSeal wire.Tag = "confab/concierge-token-seal/1\n"

// forgetTokens is up to how many epochs back what is over is looked for.
const forgetTokens = 40

// tokens issues tokens and takes them.
type tokens struct {
	server  *Server
	sealer  sealer
	issuers issuers
	pairs   *buckets // knocks of one issuer's users to one account

	mu   sync.Mutex // held while a key is made, so that it is made once
	keys map[uint64]*rsa.PrivateKey
}

func newTokens(s *Server) *tokens {
	return &tokens{
		server: s, sealer: newSealer(TagTokenSeal, s.signer.seed()), keys: map[uint64]*rsa.PrivateKey{},
		issuers: newIssuers(), pairs: newBuckets(pairRate, pairBurst),
	}
}

// keyStream is where the key of an epoch is.
func keyStream(epoch uint64) [32]byte {
	return TagKept.Sum([]byte{keptTokenKey}, binary.BigEndian.AppendUint64(nil, epoch))
}

// key returns our key of an epoch; ErrNotFound, if there is none and none is to
// be made. All processes of one store have the same.
func (t *tokens) key(ctx context.Context, epoch uint64, fresh bool) (*rsa.PrivateKey, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.keys[epoch]; k != nil {
		return k, nil
	}
	store, id := t.server.store, keyStream(epoch)
	if fresh {
		if err := store.Configure(ctx, id, stream.Settings{}); err != nil {
			return nil, err
		}
	}
	for range maxTries {
		b, head, err := newest(ctx, store, id)
		if err != nil {
			return nil, err
		}
		if k, err := t.open(epoch, b); err == nil {
			for old := range t.keys {
				if old+1 < epoch {
					delete(t.keys, old)
				}
			}
			t.keys[epoch] = k
			return k, nil
		} else if !fresh {
			return nil, stream.ErrNotFound
		} else if b != nil {
			// It was made under another server key, which nobody verifies by.
			t.server.logger.Warn("the key for tokens is made anew", "error", err)
		}
		k, err := rsa.GenerateKey(rand.Reader, tokenBits)
		if err != nil {
			return nil, fmt.Errorf("make key for tokens: %w", err)
		}
		body, err := t.sealer.seal(t.server.rand, keyStream(epoch), x509.MarshalPKCS1PrivateKey(k))
		if err != nil {
			return nil, err
		}
		var moved *stream.HeadError
		if _, err := replace(ctx, store, id, head, newMessageID(), body); err != nil && !errors.As(err, &moved) {
			return nil, err
		}
	}
	return nil, errBusy
}

func (t *tokens) open(epoch uint64, b []byte) (*rsa.PrivateKey, error) {
	text, err := t.sealer.open(keyStream(epoch), b)
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS1PrivateKey(text)
	if err != nil || k.N.BitLen() != tokenBits || k.E != tokenExponent {
		return nil, errors.New("key for tokens is damaged")
	}
	return k, nil
}

// issuer returns our key of an epoch, for others: this epoch's, or the one
// before.
func (t *tokens) issuer(ctx context.Context, epoch uint64) (Issuer, error) {
	now := epochOf(t.server.now())
	switch {
	case t.server.limits.Tokens < 0:
		return Issuer{}, wire.Errorf(wire.NotFound, "this concierge issues no tokens")
	case epoch != now && epoch+1 != now:
		return Issuer{}, wire.Errorf(wire.NotFound, "epoch is %d, and it is %d: keys are of this day and the one before", epoch, now)
	}
	k, err := t.key(ctx, epoch, epoch == now)
	if errors.Is(err, stream.ErrNotFound) {
		return Issuer{}, wire.Errorf(wire.NotFound, "no tokens were issued in epoch %d", epoch)
	}
	if err != nil {
		return Issuer{}, err
	}
	me := t.server.me
	i := Issuer{Version: 1, Chain: me.Chain, Service: me.Account, Generation: me.Generation, Epoch: epoch, Modulus: k.N.FillBytes(make([]byte, tokenSize))}
	i.Signature = key.Signature(t.server.signer.sign(TagIssuer, i.signed()))
	return i, nil
}

// serveIssuer serves GET /v1/issuer?epoch=N.
func (s *Server) serveIssuer(w http.ResponseWriter, r *http.Request) {
	leave, err := s.enter(remoteHost(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer leave()
	epoch := epochOf(s.now())
	if text := r.URL.Query().Get("epoch"); text != "" {
		if epoch, err = strconv.ParseUint(text, 10, 64); err != nil {
			s.fail(w, r, wire.Errorf(wire.Invalid, "epoch is no number"))
			return
		}
	}
	i, err := s.tokens.issuer(r.Context(), epoch)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.answer(w, r, i)
}

// issued is how many tokens an account has had in an epoch: all that is kept.
type issued struct {
	_     struct{} `cbor:",toarray"`
	Epoch uint64
	Count uint64
}

// issue signs blinded tokens for a user. That they were signed is durable before
// they are; what they are used for is never known. The owner is held.
func (t *tokens) issue(ctx context.Context, owner Owner, b tokensBody) ([][]byte, error) {
	now, limit := epochOf(t.server.now()), t.server.limits.Tokens
	if limit < 0 {
		return nil, wire.Errorf(wire.NotFound, "this concierge issues no tokens: do work instead")
	}
	if b.Epoch != now {
		return nil, wire.Errorf(wire.Stale, "epoch is %d, and it is %d: ask for the issuer's key again", b.Epoch, now)
	}
	if len(b.Blinded) == 0 || len(b.Blinded) > maxTokens {
		return nil, wire.Errorf(wire.Invalid, "request is for %d tokens: 1 to %d are allowed at once", len(b.Blinded), maxTokens)
	}
	for _, m := range b.Blinded {
		if len(m) != tokenSize {
			return nil, wire.Errorf(wire.Invalid, "blinded message has %d bytes, not %d", len(m), tokenSize)
		}
	}
	k, err := t.key(ctx, now, true)
	if err != nil {
		return nil, err
	}
	if err := t.count(ctx, owner, now, uint64(len(b.Blinded)), uint64(limit)); err != nil {
		return nil, err
	}
	out := make([][]byte, len(b.Blinded))
	for i, m := range b.Blinded {
		if out[i], err = blindrsa.NewSigner(k).BlindSign(m); err != nil {
			return nil, wire.Errorf(wire.Invalid, "blinded message is none: %w", err)
		}
	}
	t.server.figures.tokens.WithLabelValues("issued").Add(float64(len(out)))
	return out, nil
}

// count notes that an account gets more tokens, unless those are too many.
func (t *tokens) count(ctx context.Context, owner Owner, epoch, more, limit uint64) error {
	store, id := t.server.store, owner.kept(keptTokens, nil)
	for range maxTries {
		body, head, err := newest(ctx, store, id)
		if errors.Is(err, stream.ErrNotFound) {
			if err := store.Configure(ctx, id, stream.Settings{}); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		have := issued{Epoch: epoch}
		if body != nil {
			if err := wire.Decode(body, &have, stream.MaxBody); err != nil {
				return fmt.Errorf("read the count of tokens: %w", err)
			}
		}
		if have.Epoch != epoch {
			have = issued{Epoch: epoch}
		}
		if have.Count+more > limit {
			return wire.Errorf(wire.Exhausted, "account has had %d tokens today, and %d are allowed: do work instead, or wait for tomorrow", have.Count, limit)
		}
		have.Count += more
		var moved *stream.HeadError
		if _, err = replace(ctx, store, id, head, newMessageID(), wire.Encode(have)); !errors.As(err, &moved) {
			return err
		}
	}
	return errBusy
}

// watch forgets tokens and keys whose time is over, until the server ends.
func (t *tokens) watch() {
	ctx := t.server.ctx
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := t.sweep(ctx); err != nil && ctx.Err() == nil {
			t.server.logger.Warn("tokens of former days could not be deleted; the next hour tries again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweep is watch, once.
func (t *tokens) sweep(ctx context.Context) error {
	// Not the epoch before, nor the one before that on a clock that is late.
	last := epochOf(t.server.now().Add(-tokenSkew)) - 2
	for epoch := last - min(forgetTokens, last); epoch <= last; epoch++ {
		if err := t.server.store.Delete(ctx, keyStream(epoch)); err != nil {
			return err
		}
		if err := t.forget(ctx, epoch); err != nil {
			return err
		}
	}
	return nil
}
