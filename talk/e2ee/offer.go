package e2ee

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/mls"
)

// suite is the cipher suite of direct conversations: hybrid post-quantum.
const suite = mls.XWingAES128

// Offer lets others add a device to a conversation: a KeyPackage (RFC 9420 §10).
// It was checked (form, suite, signatures, lifetime, credential, key) but not
// judged: that the device is its account's nobody has asked yet.
type Offer struct {
	Member Member

	kp *mls.KeyPackage
}

// offerSecret is what a device keeps of an offer, as it is encoded.
type offerSecret struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Offer   []byte
	Keys    []byte
}

// NewOffer makes an offer that is good for life, and its secret. Keep the secret
// encrypted under the offer's Ref, until a Welcome or a knock used it, or it has
// expired; then delete it, or what was sealed to it stays readable.
func NewOffer(rand io.Reader, now time.Time, signer key.Device, m Member, life time.Duration) (o Offer, secret []byte, err error) {
	if err := m.check(); err != nil {
		return Offer{}, nil, fmt.Errorf("make offer: %w", err)
	}
	if m.Device != signer.Public() {
		return Offer{}, nil, fmt.Errorf("make offer: the signing key is not the device's")
	}
	if life <= 0 || life > MaxLife-skew {
		return Offer{}, nil, fmt.Errorf("make offer: a lifetime of %v, want at most %v", life, MaxLife-skew)
	}
	from := max(now.Add(-skew).Unix(), 0)
	kp, keys, err := mls.NewKeyPackage(rand, suite, signer.MLS(), m.template(), mls.Lifetime{NotBefore: uint64(from), NotAfter: uint64(now.Add(life).Unix())})
	if err != nil {
		return Offer{}, nil, fmt.Errorf("make offer: %w", err)
	}
	k, err := keys.MarshalBinary()
	if err != nil {
		return Offer{}, nil, fmt.Errorf("make offer: %w", err)
	}
	o = Offer{m, kp}
	return o, wire.Encode(offerSecret{Version: version, Offer: o.Bytes(), Keys: k}), nil
}

// ParseOffer reads and checks an offer that is to be used now.
func ParseOffer(b []byte, now time.Time) (Offer, error) {
	o, err := parseOffer(b)
	if err != nil {
		return Offer{}, fmt.Errorf("offer: %w", err)
	}
	if err := o.valid(now); err != nil {
		return Offer{}, fmt.Errorf("offer of %v: %w", o.Member, err)
	}
	return o, nil
}

// parseOffer checks everything but the time.
func parseOffer(b []byte) (Offer, error) {
	if len(b) > MaxOffer {
		return Offer{}, fmt.Errorf("%d bytes, at most %d are allowed", len(b), MaxOffer)
	}
	m, err := mls.ParseMessage(b)
	if err != nil {
		return Offer{}, err
	}
	kp := m.KeyPackage
	if kp == nil {
		return Offer{}, fmt.Errorf("it is no key package")
	}
	if kp.Suite != suite {
		return Offer{}, fmt.Errorf("cipher suite %v, want %v", kp.Suite, suite)
	}
	if len(kp.Extensions) != 0 || !slices.Contains(kp.Leaf.Capabilities.Extensions, extTerms) {
		return Offer{}, fmt.Errorf("it is made for something else")
	}
	member, err := memberOf(kp.Leaf)
	if err != nil {
		return Offer{}, err
	}
	if life := kp.Leaf.Lifetime; life.NotAfter < life.NotBefore || life.NotAfter-life.NotBefore > uint64(MaxLife/time.Second) {
		return Offer{}, fmt.Errorf("its lifetime is longer than %v", MaxLife)
	}
	return Offer{member, kp}, kp.Verify()
}

func (o Offer) valid(now time.Time) error {
	if o.kp == nil {
		return fmt.Errorf("it is empty")
	}
	at := now.Unix()
	if at < 0 {
		return fmt.Errorf("the time is before 1970")
	}
	if life := o.kp.Leaf.Lifetime; uint64(at) < life.NotBefore || uint64(at) > life.NotAfter {
		return fmt.Errorf("it is good from %d to %d, not at %d", life.NotBefore, life.NotAfter, at)
	}
	return nil
}

// Bytes returns the offer's encoding, to be published.
func (o Offer) Bytes() []byte { return o.kp.Message() }

// Ref returns the name of the offer in knocks and Welcomes: 32 bytes.
func (o Offer) Ref() []byte { return o.kp.Ref() }

// Expires returns when the offer may no longer be used.
func (o Offer) Expires() time.Time { return time.Unix(int64(o.kp.Leaf.Lifetime.NotAfter), 0) }

// Format writes whose offer it is, whatever the verb.
func (o Offer) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "e2ee.Offer(%v)", o.Member) }

// opened is an own offer with its keys.
type opened struct {
	Offer
	keys *mls.KeyPackageSecrets
}

// openSecret reads the secret of the offer with this name.
func openSecret(ref, secret []byte) (opened, error) {
	var s offerSecret
	if err := wire.Decode(secret, &s, maxSecret); err != nil {
		return opened{}, fmt.Errorf("secret of offer: %w", err)
	}
	if s.Version != version {
		return opened{}, fmt.Errorf("secret of offer: version %d is unknown", s.Version)
	}
	o, err := parseOffer(s.Offer)
	if err != nil {
		return opened{}, fmt.Errorf("secret of offer: %w", err)
	}
	if !bytes.Equal(o.Ref(), ref) {
		return opened{}, fmt.Errorf("secret of offer: it is another offer's")
	}
	keys := new(mls.KeyPackageSecrets)
	if err := keys.UnmarshalBinary(s.Keys); err != nil {
		return opened{}, fmt.Errorf("secret of offer: %w", err)
	}
	return opened{o, keys}, nil
}

// firstOwn finds the first of the named offers whose secret is at hand.
func firstOwn(refs [][]byte, secret func(ref []byte) []byte) (opened, error) {
	for _, ref := range refs {
		if s := secret(ref); s != nil {
			return openSecret(ref, s)
		}
	}
	return opened{}, fmt.Errorf("no offer of this device is named: %w", ErrOthers)
}
