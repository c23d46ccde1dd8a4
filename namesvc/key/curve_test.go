package key_test

import (
	"crypto/sha512"
	"math/big"
	"slices"

	"github.com/confab-chat/confab/namesvc/key"
)

// The arithmetic of Ed25519 in the plainest form there is, so that the vectors
// and the list of small-order points rest on the definition (RFC 8032 §5.1) and
// not on the library that they test.
var (
	prime = sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	order = func() *big.Int {
		l, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
		return l.Add(l, new(big.Int).Lsh(big.NewInt(1), 252))
	}()
	curveD  = mod(mul(big.NewInt(-121665), inverse(big.NewInt(121666))))
	rootOf1 = new(big.Int).Exp(big.NewInt(2), new(big.Int).Rsh(sub(prime, big.NewInt(1)), 2), prime) // sqrt(-1)
	neutral = point{big.NewInt(0), big.NewInt(1)}
	base    = func() point {
		y := mod(mul(big.NewInt(4), inverse(big.NewInt(5))))
		p, ok := lift(y, false)
		if !ok {
			panic("the base point is not on the curve")
		}
		return p
	}()
)

func sub(a, b *big.Int) *big.Int  { return new(big.Int).Sub(a, b) }
func add(a, b *big.Int) *big.Int  { return new(big.Int).Add(a, b) }
func mul(a, b *big.Int) *big.Int  { return new(big.Int).Mul(a, b) }
func mod(a *big.Int) *big.Int     { return new(big.Int).Mod(a, prime) }
func inverse(a *big.Int) *big.Int { return new(big.Int).ModInverse(mod(a), prime) }

// point is a point of the curve -x² + y² = 1 + d·x²·y².
type point struct{ x, y *big.Int }

func (p point) equal(q point) bool { return p.x.Cmp(q.x) == 0 && p.y.Cmp(q.y) == 0 }

func (p point) plus(q point) point {
	xy := mod(mul(mul(p.x, q.x), mul(p.y, q.y)))
	dxy := mod(mul(curveD, xy))
	x := mul(add(mul(p.x, q.y), mul(p.y, q.x)), inverse(add(big.NewInt(1), dxy)))
	y := mul(add(mul(p.y, q.y), mul(p.x, q.x)), inverse(sub(big.NewInt(1), dxy)))
	return point{mod(x), mod(y)}
}

func (p point) negative() point { return point{mod(new(big.Int).Neg(p.x)), p.y} }

// times adds p to itself in projective coordinates (x = X/Z, y = Y/Z), which
// need one division for all.
func (p point) times(n *big.Int) point {
	one := projective{p.x, p.y, big.NewInt(1)}
	out := projective{neutral.x, neutral.y, big.NewInt(1)}
	for i := n.BitLen() - 1; i >= 0; i-- {
		out = out.plus(out)
		if n.Bit(i) == 1 {
			out = out.plus(one)
		}
	}
	z := inverse(out.z)
	return point{mod(mul(out.x, z)), mod(mul(out.y, z))}
}

type projective struct{ x, y, z *big.Int }

func (p projective) plus(q projective) projective {
	zz, xx, yy := mod(mul(p.z, q.z)), mod(mul(p.x, q.x)), mod(mul(p.y, q.y))
	dxy := mod(mul(curveD, mod(mul(xx, yy))))
	f, g := sub(mul(zz, zz), dxy), add(mul(zz, zz), dxy)
	cross := sub(mul(add(p.x, p.y), add(q.x, q.y)), add(xx, yy))
	return projective{mod(mul(mod(mul(zz, f)), cross)), mod(mul(mod(mul(zz, g)), add(xx, yy))), mod(mul(f, g))}
}

func (p point) small() bool { return p.times(big.NewInt(8)).equal(neutral) }

// kind says in which part of the group the point lies.
func (p point) kind() string {
	switch {
	case p.small():
		return "small"
	case p.times(order).equal(neutral):
		return "prime"
	}
	return "mixed"
}

// lift returns the point with this y and sign of x, if there is one.
func lift(y *big.Int, negative bool) (point, bool) {
	y2 := mul(y, y)
	x2 := mod(mul(sub(y2, big.NewInt(1)), inverse(add(mul(curveD, y2), big.NewInt(1)))))
	x := new(big.Int).Exp(x2, new(big.Int).Rsh(add(prime, big.NewInt(3)), 3), prime)
	if mod(mul(x, x)).Cmp(x2) != 0 {
		x = mod(mul(x, rootOf1))
	}
	if mod(mul(x, x)).Cmp(x2) != 0 {
		return point{}, false
	}
	if negative != (x.Bit(0) == 1) {
		x = mod(new(big.Int).Neg(x))
	}
	return point{x, mod(y)}, true
}

// decode reads an encoding the lenient way: y need not be reduced, and zero may
// have a sign.
func decode(b [32]byte) (point, bool) {
	negative := b[31]&0x80 != 0
	b[31] &= 0x7f
	return lift(little(b[:]), negative)
}

// little reads a number, least significant byte first.
func little(b []byte) *big.Int {
	b = slices.Clone(b)
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

// bytes32 writes a number below 2^256, least significant byte first.
func bytes32(n *big.Int) (out [32]byte) {
	n.FillBytes(out[:])
	slices.Reverse(out[:])
	return out
}

func (p point) encode() [32]byte {
	b := bytes32(p.y)
	if p.x.Bit(0) == 1 {
		b[31] |= 0x80
	}
	return b
}

// challenge is k of the verification equation.
func challenge(r, a [32]byte, message []byte) *big.Int {
	h := sha512.New()
	h.Write(r[:])
	h.Write(a[:])
	h.Write(message)
	return new(big.Int).Mod(little(h.Sum(nil)), order)
}

// equations says whether [S]B = R + [k]A holds, as it stands and times eight.
// Encodings are read the lenient way.
func equations(a, r [32]byte, s *big.Int, message []byte) (cofactorless, cofactored bool) {
	pa, ok := decode(a)
	pr, ok2 := decode(r)
	if !ok || !ok2 {
		return false, false
	}
	k := challenge(r, a, message)
	if pa.small() {
		k = new(big.Int).Mod(k, big.NewInt(8)) // the same multiple, sooner
	}
	diff := base.times(s).plus(pr.plus(pa.times(k)).negative())
	return diff.equal(neutral), diff.small()
}

// torsion returns the eight points of small order as multiples of one of them.
func torsion() [8]point {
	for y := int64(2); ; y++ {
		p, ok := lift(big.NewInt(y), false)
		if !ok {
			continue
		}
		t := p.times(order)
		if t.times(big.NewInt(4)).equal(neutral) {
			continue // its order is below eight
		}
		var out [8]point
		out[0] = neutral
		for i := 1; i < 8; i++ {
			out[i] = out[i-1].plus(t)
		}
		return out
	}
}

func signature(r [32]byte, s *big.Int) (sig key.Signature) {
	b := bytes32(s)
	copy(sig[:32], r[:])
	copy(sig[32:], b[:])
	return sig
}
