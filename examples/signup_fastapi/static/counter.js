// The sum is asked for after each click: other tabs add to it too.
const sum = document.getElementById("clicks");
const button = document.getElementById("click");
const socket = new WebSocket(`${location.origin.replace("http", "ws")}/counter`);

socket.onopen = () => { button.disabled = false; };
socket.onclose = () => { button.disabled = true; };
button.onclick = () => socket.send("click");
socket.onmessage = async () => {
  const response = await fetch("/clicks");
  sum.textContent = await response.text();
};
