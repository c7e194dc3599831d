// Says hello, and adds two numbers.
const express = require("express");

const app = express();
app.get("/", (request, response) => response.send("Hello from Express\n"));
app.get("/sum/:a/:b", (request, response) => {
  response.json({ sum: Number(request.params.a) + Number(request.params.b) });
});

const server = app.listen(process.env.PORT);
process.on("SIGTERM", () => server.close());
