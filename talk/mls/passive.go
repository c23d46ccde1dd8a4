package mls

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Hex is bytes that JSON shows in hexadecimal.
type Hex []byte

// MarshalText implements encoding.TextMarshaler.
func (h Hex) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hex) UnmarshalText(b []byte) (err error) {
	*h, err = hex.AppendDecode([]byte{}, b)
	return err
}

// Scenario is a recorded run of a group as one member saw it, who was let in by
// a Welcome and never sent anything: the passive client of the MLS working
// group's test vectors, in their JSON shape. Its keys are test data.
type Scenario struct {
	CipherSuite   CipherSuite   `json:"cipher_suite"`
	ExternalPSKs  []ScenarioPSK `json:"external_psks"`
	KeyPackage    Hex           `json:"key_package"`     // MLSMessage
	SignaturePriv Hex           `json:"signature_priv"`  // Ed25519 seed
	Encryption    Hex           `json:"encryption_priv"` // HPKE private key of the leaf
	InitPriv      Hex           `json:"init_priv"`       // HPKE private key of the key package
	Welcome       Hex           `json:"welcome"`         // MLSMessage
	RatchetTree   *Hex          `json:"ratchet_tree"`    // null if the Welcome carries it

	InitialEpochAuthenticator Hex             `json:"initial_epoch_authenticator"`
	Epochs                    []ScenarioEpoch `json:"epochs"`
}

// ScenarioPSK is an external pre-shared key of a Scenario.
type ScenarioPSK struct {
	ID  Hex `json:"psk_id"`
	PSK Hex `json:"psk"`
}

// ScenarioEpoch is one step of a Scenario.
type ScenarioEpoch struct {
	Proposals          []Hex `json:"proposals"` // MLSMessages that the commit may refer to
	Commit             Hex   `json:"commit"`    // MLSMessage
	EpochAuthenticator Hex   `json:"epoch_authenticator"`
}

// ParseScenarios reads a JSON array of scenarios.
func ParseScenarios(data []byte) ([]Scenario, error) {
	var list []Scenario
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("parse scenarios: %w", err)
	}
	return list, nil
}

// ExternalPSK implements PSKStore.
func (s *Scenario) ExternalPSK(id []byte) ([]byte, bool) {
	for _, p := range s.ExternalPSKs {
		if bytes.Equal(p.ID, id) {
			return p.PSK, true
		}
	}
	return nil, false
}

// ResumptionPSK implements PSKStore: a scenario knows no other group.
func (s *Scenario) ResumptionPSK([]byte, uint64) ([]byte, bool) { return nil, false }

// Join enters the scenario's group and compares the first epoch authenticator.
// It accepts every credential and keeps as much as the bounds allow. A suite
// that is not supported gives ErrUnsupported.
func (s *Scenario) Join() (*Group, error) {
	if _, err := s.CipherSuite.lookup(); err != nil {
		return nil, err
	}
	// Some write the public key behind the seed.
	if n := len(s.SignaturePriv); n != ed25519.SeedSize && n != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("read scenario: signing key of %d bytes: %w", n, ErrInvalid)
	}
	signer := ed25519.NewKeyFromSeed(s.SignaturePriv[:ed25519.SeedSize])
	kp, err := ParseMessage(s.KeyPackage)
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	welcome, err := ParseMessage(s.Welcome)
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	if kp.KeyPackage == nil || welcome.Welcome == nil {
		return nil, fmt.Errorf("read scenario: no key package or no Welcome where one should be: %w", ErrInvalid)
	}
	if err := kp.KeyPackage.Verify(); err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	o := JoinOptions{Signer: signer, PSKs: s, Policy: Policy{
		Check: func(Candidate) error { return nil }, KeepEpochs: MaxPastEpochs, KeepResumption: MaxResumption,
	}}
	if s.RatchetTree != nil {
		o.Tree = *s.RatchetTree
	}
	g, _, err := Join(welcome.Welcome, kp.KeyPackage, NewKeyPackageSecrets(s.InitPriv, s.Encryption), o)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(g.EpochAuthenticator(), s.InitialEpochAuthenticator) {
		return nil, fmt.Errorf("join: epoch authenticator differs: %w", ErrInvalid)
	}
	return g, nil
}

// Step processes one epoch's proposals and commit and compares the epoch
// authenticator.
func (s *Scenario) Step(g *Group, e ScenarioEpoch) error {
	for i, b := range e.Proposals {
		if _, err := s.receive(g, b); err != nil {
			return fmt.Errorf("proposal %d: %w", i+1, err)
		}
	}
	r, err := s.receive(g, e.Commit)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if r.Commit == nil {
		return fmt.Errorf("commit: it is something else: %w", ErrInvalid)
	}
	if err := g.Merge(r.Commit); err != nil {
		return err
	}
	if !bytes.Equal(g.EpochAuthenticator(), e.EpochAuthenticator) {
		return fmt.Errorf("epoch authenticator of epoch %d differs: %w", g.Epoch(), ErrInvalid)
	}
	return nil
}

func (s *Scenario) receive(g *Group, b []byte) (*Received, error) {
	m, err := ParseMessage(b)
	if err != nil {
		return nil, err
	}
	return g.Receive(m, s)
}

// Run plays a whole scenario: nil means that every epoch authenticator was
// equal.
func (s *Scenario) Run() error {
	g, err := s.Join()
	if err != nil {
		return err
	}
	for i, e := range s.Epochs {
		if err := s.Step(g, e); err != nil {
			return fmt.Errorf("step %d of %d: %w", i+1, len(s.Epochs), err)
		}
	}
	return nil
}
