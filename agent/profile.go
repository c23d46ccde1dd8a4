package agent

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
)

// Profile is how an account wants to be shown. The entry carries its id; the
// document itself is given out by the account's concierge, and checked against it.
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
	// MaxProfile bounds the document.
	MaxProfile = MaxProfileName + MaxProfileAbout + 16
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

// ID returns the id that an entry carries.
func (p Profile) ID() chunk.ID {
	id, err := DocumentID(p.Encode())
	if err != nil {
		panic(err) // it is never empty, and short
	}
	return id
}

// DocumentID returns the id by which an entry names a profile or a picture: that of
// content at a concierge, so that it is fetched by what it is checked against. The
// error is of kind Invalid if the document is empty.
func DocumentID(b []byte) (chunk.ID, error) {
	var t chunk.Tree
	if _, err := t.Write(b); err != nil {
		return chunk.ID{}, err
	}
	id, _, err := t.Sum()
	return id, err
}

// DecodeProfile parses a document that must have this id.
func DecodeProfile(b []byte, id chunk.ID) (Profile, error) {
	if len(b) > MaxProfile {
		return Profile{}, wire.Errorf(wire.Invalid, "profile: it has more than %d bytes", MaxProfile)
	}
	if got, err := DocumentID(b); err != nil || got != id {
		return Profile{}, wire.Errorf(wire.Invalid, "profile: it is not the one that the entry names")
	}
	var p Profile
	if err := wire.Decode(b, &p, MaxProfile); err != nil {
		return Profile{}, wire.Errorf(wire.Invalid, "profile: %w", err)
	}
	return p, p.Check()
}
