package concierge

import (
	"encoding/base32"
	"io"
	"strings"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// The tags of tickets for registrations.
const (
	// TagInvitation: the key that an invitation code grows into.
	TagInvitation wire.Tag = "confab/concierge-invitation/1\n"
	// TagTicketRequest: an invitation's key asks for a ticket.
	TagTicketRequest wire.Tag = "confab/concierge-ticket-request/1\n"
)

// An Invitation is a code that a sponsor gives away: it is good for one ticket.
// Six groups of four letters and digits, which carry 120 bits.
type Invitation [15]byte

// codeLetters are those of codes: none that are mistaken for one another.
var codeLetters = base32.NewEncoding("abcdefghjkmnpqrstuvwxyz234567890").WithPadding(base32.NoPadding)

// NewInvitation returns a new code.
func NewInvitation(rand io.Reader) (Invitation, error) {
	var i Invitation
	_, err := io.ReadFull(rand, i[:])
	return i, err
}

// ParseInvitation reads a code as people copy it: case, hyphens and spaces do not
// matter.
func ParseInvitation(text string) (Invitation, error) {
	var i Invitation
	letters := strings.ToLower(strings.Join(strings.Fields(strings.ReplaceAll(text, "-", "")), ""))
	if len(letters) != codeLetters.EncodedLen(len(i)) {
		return i, errInvitation
	}
	if _, err := codeLetters.Decode(i[:], []byte(letters)); err != nil {
		return i, errInvitation // and what was typed stays out of the text
	}
	return i, nil
}

var errInvitation error = wire.Errorf(wire.Invalid, "an invitation code has six groups of four letters and digits, like abcd-efgh-jkmn-pqrs-tuvw-xyz2")

// Code returns the code as people copy it.
func (i Invitation) Code() string {
	text := codeLetters.EncodeToString(i[:])
	var groups []string
	for ; len(text) > 0; text = text[4:] {
		groups = append(groups, text[:4])
	}
	return strings.Join(groups, "-")
}

// String keeps codes out of logs.
func (Invitation) String() string { return "invitation" }

// key is the secret key that the code grows into. Its public half is all that the
// sponsor keeps, so a stolen store holds no code; and a request is signed with
// it, so who reads one on its way has no use for it.
func (i Invitation) key() key.Server { return key.ServerFromSeed(TagInvitation.Sum(i[:])) }

// TicketRequest asks a sponsor for its signature over a blinded challenge. It
// names neither a handle nor an account nor a commit.
type TicketRequest struct {
	_          struct{} `cbor:",toarray"`
	Key        [32]byte // SHA-256 of the modulus that it is blinded for
	Blinded    []byte   // 256 bytes
	Invitation []byte   // public key of an invitation, or empty
	Signature  []byte   // by that key, 64 bytes, or empty
}

// Ticket is the answer: the blind signature, which only who blinded can unblind.
type Ticket struct {
	_      struct{} `cbor:",toarray"`
	Signed []byte   // 256 bytes
}

// signed is what an invitation's key signs: the request is for this sponsor and
// this blinded challenge.
func (r TicketRequest) signed(chain string, sponsor namesvc.AccountID) []byte {
	return wire.Encode(struct {
		_       struct{} `cbor:",toarray"`
		Chain   string
		Sponsor namesvc.AccountID
		Key     [32]byte
		Blinded []byte
	}{Chain: chain, Sponsor: sponsor, Key: r.Key, Blinded: r.Blinded})
}

// invite puts an invitation's signature into a request.
func (r *TicketRequest) invite(chain string, sponsor namesvc.AccountID, i Invitation) {
	k := i.key()
	public := k.Public()
	sig := newSigner(k).sign(TagTicketRequest, r.signed(chain, sponsor))
	r.Invitation, r.Signature = public[:], sig[:]
}

// check returns the public key of the invitation, and whether there is one.
func (r TicketRequest) check(chain string, sponsor namesvc.AccountID) (key.Public, bool, error) {
	if len(r.Blinded) != tokenSize {
		return key.Public{}, false, wire.Errorf(wire.Invalid, "blinded challenge has %d bytes, not %d", len(r.Blinded), tokenSize)
	}
	if len(r.Invitation) == 0 && len(r.Signature) == 0 {
		return key.Public{}, false, nil
	}
	if len(r.Invitation) != len(key.Public{}) || len(r.Signature) != key.SignatureSize {
		return key.Public{}, false, errInvited
	}
	k := key.Public(r.Invitation)
	if key.Verify(k, TagTicketRequest, r.signed(chain, sponsor), key.Signature(r.Signature)) != nil {
		return key.Public{}, false, errInvited
	}
	return k, true, nil
}

var errInvited error = wire.Errorf(wire.Unauthorized, "this sponsor does not know this invitation code, or its time is over")
