// A position in the song, which the sound follows, and which follows the sound.
// The position can be moved without sound too, if its file is not found.

class Player {
  constructor(audio, duration, onMove) {
    this.audio = audio;
    this.duration = duration;
    this.onMove = onMove;
    this.silent = 0;
    this.canPlay = Boolean(audio.getAttribute("src"));
    for (const name of ["play", "pause", "ended", "seeked"]) {
      audio.addEventListener(name, () => this.moved());
    }
    audio.addEventListener("play", () => this.run());
    audio.addEventListener("error", () => { this.canPlay = false; this.moved(); });
    audio.addEventListener("loadedmetadata", () => this.ready());
  }

  get position() {
    return Math.min(this.canPlay ? this.audio.currentTime : this.silent, this.duration);
  }

  get isPlaying() {
    return this.canPlay && !this.audio.paused && !this.audio.ended;
  }

  seek(seconds) {
    this.silent = Math.min(Math.max(seconds, 0), this.duration);
    if (this.canPlay) this.audio.currentTime = this.silent;
    this.moved();
  }

  toggle() {
    if (!this.canPlay) return;
    if (this.isPlaying) this.audio.pause();
    else this.audio.play().catch(() => this.moved());
  }

  // Takes a file that the user has chosen in place of one that was not found.
  open(file) {
    this.canPlay = true;
    this.audio.src = URL.createObjectURL(file);
  }

  ready() {
    if (this.silent) this.audio.currentTime = this.silent;
    this.moved();
  }

  run() {
    this.moved();
    if (this.isPlaying) requestAnimationFrame(() => this.run());
  }

  moved() {
    if (this.canPlay && this.audio.readyState) this.silent = this.audio.currentTime;
    this.onMove();
  }
}
