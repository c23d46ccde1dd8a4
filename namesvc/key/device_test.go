package key_test

import (
	"crypto"
	"crypto/ed25519"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// signContent is SignContent of RFC 9420 §5.1.2.
func signContent(label, content string) []byte {
	b := append([]byte{byte(len(label))}, label...)
	return append(append(b, byte(len(content))), content...)
}

func TestDevice_SignsForMLS(t *testing.T) {
	d := key.DeviceFromSeed([32]byte{7})
	msg := signContent("MLS 1.0 KeyPackageTBS", "content")
	sig, err := d.MLS().Sign(nil, msg, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	pub := d.MLS().Public().(ed25519.PublicKey)
	if key.Public(pub) != d.Public() || !ed25519.Verify(pub, msg, sig) {
		t.Error("the signature is not the device's")
	}
}

// TestDevice_SignsNothingElseForMLS offers the signer what would be worth something
// elsewhere, and what only looks like MLS.
func TestDevice_SignsNothingElseForMLS(t *testing.T) {
	d := key.DeviceFromSeed([32]byte{7})
	for name, msg := range map[string][]byte{
		"nothing": nil, "a zero": {0}, "only a length": {20}, "op": wire.TagOp.Message([]byte("op")),
		"consent": wire.TagDevice.Message(nil), "request": wire.TagRequest.Message([]byte("MLS 1.0 ")),
		"knock": wire.TagKnock.Message([]byte("\x15MLS 1.0 KeyPackageTBS")), "bare": []byte("MLS 1.0 KeyPackageTBS"),
		"length of a label below its prefix": []byte("\x07MLS 1.0 "), "cut off": []byte("\x15MLS 1.0 "),
		"other version": signContent("MLS 1.1 KeyPackageTBS", ""), "length of two bytes": append([]byte{0x40, 0x15}, "MLS 1.0 KeyPackageTBS"...),
	} {
		if sig, err := d.MLS().Sign(nil, msg, crypto.Hash(0)); err == nil || sig != nil {
			t.Errorf("%s was signed", name)
		}
	}
	if _, err := d.MLS().Sign(nil, signContent("MLS 1.0 KeyPackageTBS", ""), crypto.SHA256); err == nil {
		t.Error("a hash was signed")
	}
}

// TestTags_AreNoMLS: whatever a tag of ours begins, the MLS signer refuses it.
func TestTags_AreNoMLS(t *testing.T) {
	for _, tag := range []wire.Tag{
		wire.TagOp, wire.TagDevice, wire.TagAcceptance, wire.TagCommit, wire.TagWork, wire.TagNextRoot, wire.TagTie,
		wire.TagPossession, wire.TagRequest, wire.TagKnock,
	} {
		if !strings.HasPrefix(string(tag), "confab/") || tag[0] < 64 {
			t.Errorf("tag %q could begin a SignContent", tag)
		}
	}
}
