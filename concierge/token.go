package concierge

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"time"

	"github.com/cloudflare/circl/blindsign/blindrsa"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// The tags of tokens.
const (
	// TagToken: what a concierge signs blindly for its users.
	TagToken wire.Tag = "confab/concierge-token/1\n"
	// TagIssuer: a concierge's server key vouches for the key of an epoch.
	TagIssuer wire.Tag = "confab/concierge-issuer/1\n"
)

const (
	// tokenEpoch is how long one key of an issuer signs. Whoever redeems a token
	// learns its epoch, so a shorter one would say more about when it was got.
	tokenEpoch = 24 * time.Hour
	// tokenSkew is by how much clocks of concierges may differ.
	tokenSkew = 10 * time.Minute
	// tokenBits is the size of an issuer's RSA key: what it protects is worth a
	// day of knocks.
	tokenBits = 2048
	// tokenSize is the bytes of a signature and of a blinded message.
	tokenSize = tokenBits / 8
	// tokenExponent is that of all issuers' keys.
	tokenExponent = 65537
	// maxTokens are asked for at once: each costs a millisecond of a core.
	maxTokens = 16
	// maxToken is the most bytes of an encoded token.
	maxToken = 512
)

func epochOf(t time.Time) uint64 { return uint64(t.Unix()) / uint64(tokenEpoch/time.Second) }

// A Token pays for one knock, in the place of work. The concierge that issued it
// to one of its users cannot tell to which (RFC 9474, RSABSSA-SHA384-PSS-
// Randomized), nor can the one that takes it.
type Token struct {
	_          struct{} `cbor:",toarray"`
	Issuer     namesvc.AccountID
	Generation uint32
	Epoch      uint64   // days since 1970
	Nonce      [32]byte // the random prefix of the message
	Signature  []byte
}

// Encode returns the token as Knock.Token has it.
func (t Token) Encode() []byte { return wire.Encode(t) }

// DecodeToken parses a token. Its signature is not checked.
func DecodeToken(b []byte) (Token, error) {
	var t Token
	if err := wire.Decode(b, &t, maxToken); err != nil {
		return t, wire.Errorf(wire.Invalid, "token: %w", err)
	}
	if len(t.Signature) != tokenSize {
		return t, wire.Errorf(wire.Invalid, "token: its signature has %d bytes, not %d", len(t.Signature), tokenSize)
	}
	return t, nil
}

// Until returns when a token is worth nothing any more.
func (t Token) Until() time.Time {
	return time.Unix(0, 0).Add(time.Duration(min(t.Epoch, 1<<16)+2) * tokenEpoch)
}

// prepared returns the signed message (RFC 9474 §4.1).
func (t Token) prepared(chain string) []byte {
	return append(t.Nonce[:len(t.Nonce):len(t.Nonce)], t.message(chain)...)
}

func (t Token) message(chain string) []byte {
	return TagToken.Message(wire.Encode(struct {
		_          struct{} `cbor:",toarray"`
		Chain      string
		Issuer     namesvc.AccountID
		Generation uint32
		Epoch      uint64
	}{Chain: chain, Issuer: t.Issuer, Generation: t.Generation, Epoch: t.Epoch}))
}

// An Issuer is a concierge's key for one epoch, signed with its server key. Two
// of one epoch with different keys prove that it tells its users apart.
type Issuer struct {
	_          struct{} `cbor:",toarray"`
	Version    uint64   // 1
	Chain      string
	Service    namesvc.AccountID
	Generation uint32
	Epoch      uint64
	Modulus    []byte // of RSA, big-endian; the exponent is 65537
	Signature  key.Signature
}

// maxIssuer is the most bytes of an encoded Issuer.
const maxIssuer = 1 << 10

// signed returns what the server key signs, but for the tag.
func (i Issuer) signed() []byte {
	return wire.Encode(struct {
		_          struct{} `cbor:",toarray"`
		Version    uint64
		Chain      string
		Service    namesvc.AccountID
		Generation uint32
		Epoch      uint64
		Modulus    []byte
	}{Version: i.Version, Chain: i.Chain, Service: i.Service, Generation: i.Generation, Epoch: i.Epoch, Modulus: i.Modulus})
}

// Check returns the key if it is that service's own word. Errors are of kind
// Unauthorized.
func (i Issuer) Check(want Service) (*rsa.PublicKey, error) {
	if i.Version != 1 || i.Chain != want.Chain || i.Service != want.Account || i.Generation != want.Generation {
		return nil, wire.Errorf(wire.Unauthorized, "issuer's key is of another service than %v", want.Account)
	}
	if err := key.Verify(want.Key, TagIssuer, i.signed(), i.Signature); err != nil {
		return nil, wire.Errorf(wire.Unauthorized, "issuer's key is not signed by its server key: %w", err)
	}
	n := new(big.Int).SetBytes(i.Modulus)
	if len(i.Modulus) != tokenSize || n.BitLen() != tokenBits || n.Bit(0) == 0 {
		return nil, wire.Errorf(wire.Unauthorized, "issuer's key is no RSA key of %d bits", tokenBits)
	}
	return &rsa.PublicKey{N: n, E: tokenExponent}, nil
}

// verify reports whether a key has signed a token.
func (t Token) verify(chain string, k *rsa.PublicKey) error {
	v, err := blindrsa.NewVerifier(blindrsa.SHA384PSSRandomized, k)
	if err == nil {
		err = v.Verify(t.prepared(chain), t.Signature)
	}
	if err != nil {
		return wire.Errorf(wire.Unauthorized, "token is not signed by its issuer")
	}
	return nil
}

type tokensBody struct {
	_       struct{} `cbor:",toarray"`
	Epoch   uint64
	Blinded [][]byte
}

// Issuer returns the concierge's key of this epoch, checked. Ask as a guest too,
// and from elsewhere, to see that others are given the same.
func (c *Client) Issuer(ctx context.Context) (Issuer, error) {
	i, _, err := c.issuer(ctx)
	return i, err
}

func (c *Client) issuer(ctx context.Context) (Issuer, *rsa.PublicKey, error) {
	var i Issuer
	if err := c.ask(ctx, opIssuer, struct{}{}, &i); err != nil {
		return i, nil, err
	}
	k, err := i.Check(c.service)
	return i, k, err
}

// Tokens returns n tokens for knocks at any concierge, to be kept until they are
// used or their time is over: tokens that are got only when they are needed say
// who needed them. Beside an error it returns those that it got. An error of kind
// Exhausted says that the account has had those of today.
func (c *Client) Tokens(ctx context.Context, n int) (out []Token, err error) {
	i, k, err := c.issuer(ctx)
	if err != nil {
		return nil, err
	}
	for len(out) < n {
		more, err := c.tokens(ctx, i, k, min(n-len(out), maxTokens))
		if err != nil {
			return out, err
		}
		out = append(out, more...)
	}
	return out, nil
}

func (c *Client) tokens(ctx context.Context, i Issuer, k *rsa.PublicKey, n int) ([]Token, error) {
	blind, err := blindrsa.NewClient(blindrsa.SHA384PSSRandomized, k)
	if err != nil {
		return nil, fmt.Errorf("make token: %w", err)
	}
	out, states := make([]Token, n), make([]blindrsa.State, n)
	ask := tokensBody{Epoch: i.Epoch, Blinded: make([][]byte, n)}
	for j := range out {
		t := Token{Issuer: i.Service, Generation: i.Generation, Epoch: i.Epoch}
		prepared, err := blind.Prepare(rand.Reader, t.message(i.Chain))
		if err == nil {
			ask.Blinded[j], states[j], err = blind.Blind(rand.Reader, prepared)
		}
		if err != nil {
			return nil, fmt.Errorf("make token: %w", err)
		}
		copy(t.Nonce[:], prepared)
		out[j] = t
	}
	var signed [][]byte
	if err := c.ask(ctx, opTokens, ask, &signed); err != nil {
		return nil, err
	}
	if len(signed) != n {
		return nil, wire.Errorf(wire.Invalid, "concierge answers with %d signatures, not %d", len(signed), n)
	}
	for j := range out {
		if out[j].Signature, err = blind.Finalize(states[j], signed[j]); err != nil {
			return nil, wire.Errorf(wire.Invalid, "concierge signed a token with another key than it shows: %w", err)
		}
	}
	return out, nil
}
