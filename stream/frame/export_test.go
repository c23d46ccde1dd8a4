package frame

// EncodeAny and DecodeAny are Encode and Decode by package wire alone: what those
// by hand are held to.
func EncodeAny(f Frame) []byte { return encodeAny(f) }

func DecodeAny(b []byte) (Frame, error) {
	f, err := decodeAny(b)
	if err == nil {
		err = check(f)
	}
	return f, err
}
