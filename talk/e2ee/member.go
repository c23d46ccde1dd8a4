package e2ee

import (
	"bytes"
	"fmt"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
	"github.com/confab-chat/confab/talk/mls"
)

// Member is a device of a party, as the chain lists it.
type Member struct {
	Account    namesvc.AccountID
	Generation uint32
	Device     key.Public
	Seq        uint64 // the account's DeviceSeq when this was said; two members that differ only in it are the same
}

// Party returns the party that the member belongs to.
func (m Member) Party() message.Party {
	return message.Party{Account: m.Account, Generation: m.Generation}
}

// Author returns the member as the author of events.
func (m Member) Author() message.Author {
	return message.Author{Account: m.Account, Device: m.Device}
}

// String returns the first digits of account and device, for logs.
func (m Member) String() string {
	return fmt.Sprintf("%x.%d/%x", m.Account[:4], m.Generation, m.Device[:4])
}

// Is reports whether both are the same device of the same party.
func (m Member) Is(o Member) bool {
	m.Seq, o.Seq = 0, 0
	return m == o
}

// Judge returns nil if the member is a device of its account, by the chain, that
// may take part: of this generation, with the scope to speak, not expired. It is
// asked last of all and may take a network.
//
// An error of kind wire.NotFound, wire.Unauthorized or wire.Invalid is a
// judgement: it is no such device. Any other error, a plain one too, is none: the
// operation then returns it as it is and has changed nothing.
type Judge func(Member) error

// confirmed asks the judge about members who must be what they say.
func (j Judge) confirmed(list ...Member) error {
	for _, m := range list {
		if err := j(m); refusal(err) {
			return fmt.Errorf("judge %v: %w: %w", m, ErrForbidden, err)
		} else if err != nil {
			return fmt.Errorf("judge %v: %w", m, err)
		}
	}
	return nil
}

// gone asks the judge about members who are thrown out.
func (j Judge) gone(list ...Member) error {
	for _, m := range list {
		switch err := j(m); {
		case err == nil:
			return fmt.Errorf("%v is still listed and thrown out: %w", m, ErrForbidden)
		case !refusal(err):
			return fmt.Errorf("judge %v: %w", m, err)
		}
	}
	return nil
}

// refusal reports whether a judge's error is a judgement.
func refusal(err error) bool {
	switch wire.CodeOf(err) {
	case wire.NotFound, wire.Unauthorized, wire.Invalid:
		return true
	}
	return false
}

// version is the version of every structure of this package.
const version = 1

// credential is what an MLS leaf says of its device, as it is encoded.
type credential struct {
	_          struct{} `cbor:",toarray"`
	Version    uint8
	Account    namesvc.AccountID
	Generation uint32
	Device     key.Public
	Seq        uint64
}

func (m Member) credential() mls.Credential {
	return mls.BasicCredential(wire.Encode(credential{Version: version, Account: m.Account, Generation: m.Generation, Device: m.Device, Seq: m.Seq}))
}

// parseCredential reads a credential and checks its form.
func parseCredential(b []byte) (Member, error) {
	var c credential
	if err := wire.Decode(b, &c, maxCredential); err != nil {
		return Member{}, fmt.Errorf("credential: %w", err)
	}
	m := Member{Account: c.Account, Generation: c.Generation, Device: c.Device, Seq: c.Seq}
	if c.Version != version {
		return Member{}, fmt.Errorf("credential: version %d is unknown", c.Version)
	}
	if err := m.check(); err != nil {
		return Member{}, fmt.Errorf("credential: %w", err)
	}
	return m, nil
}

// blank reports whether the member is of no party.
func (m Member) blank() bool { return m.Account == (namesvc.AccountID{}) || m.Generation == 0 }

func (m Member) check() error {
	if m.blank() {
		return fmt.Errorf("an account without id or generation")
	}
	return m.Device.Check()
}

// memberOf reads who a leaf is, and checks the form that leaves have here.
func memberOf(l *mls.LeafNode) (Member, error) {
	if l.Credential.Type != mls.CredentialBasic {
		return Member{}, fmt.Errorf("credential of type %d", l.Credential.Type)
	}
	m, err := parseCredential(l.Credential.Identity)
	if err != nil {
		return Member{}, err
	}
	if !bytes.Equal(l.SignatureKey, m.Device[:]) {
		return Member{}, fmt.Errorf("the leaf's key is not the device's")
	}
	// Version 1 has none. They would stay in the tree and in every Welcome.
	if len(l.Extensions) != 0 {
		return Member{}, fmt.Errorf("the leaf has extensions")
	}
	return m, nil
}

// template is what a member's leaves say.
func (m Member) template() mls.LeafTemplate {
	return mls.LeafTemplate{Credential: m.credential(), Capabilities: mls.Capabilities{Extensions: []mls.ExtensionType{extTerms}}}
}
