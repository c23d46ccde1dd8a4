package e2ee

import "github.com/confab-chat/confab/talk/mls"

// Bare returns the MLS group of a session: what a member has who keeps to no rule
// of this package.
func Bare(s *Session) *mls.Group { return s.group }

// KeyPackage returns the key package of an offer.
func KeyPackage(o Offer) *mls.KeyPackage { return o.kp }

// Template returns what a member's leaves say.
func Template(m Member) mls.LeafTemplate { return m.template() }

// ParseCredential reads a credential.
func ParseCredential(b []byte) (Member, error) { return parseCredential(b) }

// Terms returns the group context extensions of an instance.
func Terms(o Options, instance uint64) []mls.Extension {
	o, _ = o.checked()
	t, _ := newTerms(o.Parties, instance)
	return t.extensions()
}

// ExtTerms is the type of the extension with a conversation's terms.
const ExtTerms = extTerms

// The bounds that tests need.
const (
	PieceSize = pieceSize
	Travel    = travel
	Skew      = skew
)
