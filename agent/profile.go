package agent

import (
	"crypto/sha256"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Profile is how an account wants to be shown. The entry carries its hash; the
// document itself travels by other ways and is checked against it.
type Profile struct {
	_       struct{} `cbor:",toarray"`
	Version uint8    // 1
	Name    string   // display name, any script
	About   string
}

// Bounds of a profile, in bytes. A name fits a line, an about a small screen.
const (
	MaxProfileName  = 128
	MaxProfileAbout = 1024
	maxProfile      = MaxProfileName + MaxProfileAbout + 16
	// MaxAvatar bounds a picture: it is fetched for every list of contacts.
	MaxAvatar = 512 << 10
)

// Check reports what is wrong with a profile. Characters that cannot be seen are
// refused where they could make one name look like another: control characters,
// those that turn the direction of text, and invisible ones but for the joiners
// that scripts and emoji need.
func (p Profile) Check() error {
	if p.Version != 1 {
		return wire.Errorf(wire.Invalid, "profile: version %d is unknown", p.Version)
	}
	if err := checkText("name", p.Name, MaxProfileName, ""); err != nil {
		return err
	}
	return checkText("about", p.About, MaxProfileAbout, "\n")
}

// checkText checks one text, in which the given control characters are fine.
func checkText(field, text string, limit int, controls string) error {
	if len(text) > limit || !utf8.ValidString(text) {
		return wire.Errorf(wire.Invalid, "profile: the %s must be text of at most %d bytes", field, limit)
	}
	for _, r := range text {
		if !shown(r) && !strings.ContainsRune(controls, r) {
			return wire.Errorf(wire.Invalid, "profile: the %s contains a character that is not for text (%U)", field, r)
		}
	}
	return nil
}

// shown reports whether a character is one that people see, or that those next
// to it need.
func shown(r rune) bool {
	switch {
	case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), unicode.In(r, unicode.Zl, unicode.Zp),
		unicode.Is(unicode.Noncharacter_Code_Point, r):
		return false
	case !unicode.Is(unicode.Cf, r):
		return true
	}
	tag := r >= 0xE0020 && r <= 0xE007F // in the emoji of some flags
	return tag || unicode.In(r, unicode.Join_Control, unicode.Prepended_Concatenation_Mark)
}

// Encode returns the document.
func (p Profile) Encode() []byte { return wire.Encode(p) }

// Hash returns the hash that an entry carries.
func (p Profile) Hash() [32]byte { return sha256.Sum256(p.Encode()) }

// DecodeProfile parses a document that must have this hash.
func DecodeProfile(b []byte, hash [32]byte) (Profile, error) {
	if sha256.Sum256(b) != hash {
		return Profile{}, wire.Errorf(wire.Invalid, "profile: it is not the one that the entry names")
	}
	var p Profile
	if err := wire.Decode(b, &p, maxProfile); err != nil {
		return Profile{}, wire.Errorf(wire.Invalid, "profile: %w", err)
	}
	return p, p.Check()
}
