package namescript

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/cloudflare/circl/blindsign/blindrsa"

	"github.com/confab-chat/confab/namesvc/ticket"
)

// Mint is a sponsor's RSA key that grows from names and signs without chance, so
// that a script always makes the same bytes. It takes the way of a real one: the
// challenge is blinded, signed and unblinded by another implementation of RFC
// 9474 than the one that checks it.
type Mint struct{ key *rsa.PrivateKey }

// NewMint returns the key of these names. It takes a few tenths of a second.
func NewMint(names ...string) *Mint {
	random := &grown{seed: seed(append(names, "mint")...)}
	e := big.NewInt(65537)
	one := big.NewInt(1)
	var primes []*big.Int
	phi := big.NewInt(1)
	n := big.NewInt(1)
	for len(primes) < 2 {
		b := make([]byte, ticket.KeySize/2)
		random.Read(b)
		b[0] |= 0xc0 // the product has all its 2048 bits
		b[len(b)-1] |= 1
		p := new(big.Int).SetBytes(b)
		for !p.ProbablyPrime(8) || new(big.Int).Mod(p, e).Cmp(one) == 0 {
			p.Add(p, big.NewInt(2))
		}
		primes = append(primes, p)
		n.Mul(n, p)
		phi.Mul(phi, new(big.Int).Sub(p, one))
	}
	k := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, D: new(big.Int).ModInverse(e, phi), Primes: primes}
	k.Precompute()
	return &Mint{k}
}

// Key returns the modulus, as a sponsor declares it.
func (m *Mint) Key() []byte { return m.key.N.FillBytes(make([]byte, ticket.KeySize)) }

// Private returns the whole key.
func (m *Mint) Private() *rsa.PrivateKey { return m.key }

// Ticket returns the key's signature over a challenge.
func (m *Mint) Ticket(challenge [32]byte) ([]byte, error) {
	client, err := blindrsa.NewClient(blindrsa.SHA384PSSDeterministic, &m.key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("ticket: %w", err)
	}
	blinded, state, err := client.Blind(&grown{seed: challenge}, challenge[:])
	if err != nil {
		return nil, fmt.Errorf("blind a ticket: %w", err)
	}
	signed, err := blindrsa.NewSigner(m.key).BlindSign(blinded)
	if err != nil {
		return nil, fmt.Errorf("sign a ticket: %w", err)
	}
	return client.Finalize(state, signed)
}

// grown is a stream of bytes that grows from a seed.
type grown struct {
	seed [32]byte
	next uint64
	rest bytes.Buffer
}

// Read implements io.Reader. It never fails.
func (g *grown) Read(b []byte) (int, error) {
	for g.rest.Len() < len(b) {
		h := sha256.Sum256(binary.BigEndian.AppendUint64(g.seed[:], g.next))
		g.rest.Write(h[:])
		g.next++
	}
	return g.rest.Read(b)
}
