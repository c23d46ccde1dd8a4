package agent

import (
	"crypto/sha256"
	"fmt"
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

// Check reports what is wrong with a profile. Control characters and those that
// turn the direction of text are refused: they make a name look like another.
func (p Profile) Check() error {
	if p.Version != 1 {
		return fmt.Errorf("profile: version %d is unknown", p.Version)
	}
	for _, f := range []struct {
		name, text string
		max        int
		lines      bool
	}{{"name", p.Name, MaxProfileName, false}, {"about", p.About, MaxProfileAbout, true}} {
		if len(f.text) > f.max || !utf8.ValidString(f.text) {
			return wire.Errorf(wire.Invalid, "profile: the %s must be text of at most %d bytes", f.name, f.max)
		}
		for _, r := range f.text {
			if f.lines && r == '\n' {
				continue
			}
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
				return wire.Errorf(wire.Invalid, "profile: the %s contains a character that is not for text (%U)", f.name, r)
			}
		}
	}
	return nil
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
