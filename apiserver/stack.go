package apiserver

// grow makes the stack of a request's goroutine as large as most requests need. It
// begins with a few kilobytes and is copied each time it doubles; encoding and comparing
// objects go deep, and by then there is much to copy. Here there is next to nothing.
func grow() {
	var room [24 << 10]byte
	use(&room)
}

//go:noinline
func use(*[24 << 10]byte) {}
