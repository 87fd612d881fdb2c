// SPDX-License-Identifier: Apache-2.0
// Reads lines of JSON, [action, parameters]; makes each call; writes its answer or its error.
//
//   node calls.js SIGN-METHOD HTTP-METHOD
"use strict";

const readline = require("node:readline");
const { v20190919 } = require("tencentcloud-sdk-nodejs/tencentcloud/services/tiw/v20190919");

const [signMethod, reqMethod] = process.argv.slice(2);
const client = new v20190919.Client({
  credential: {
    secretId: process.env.TENCENTCLOUD_SECRET_ID,
    secretKey: process.env.TENCENTCLOUD_SECRET_KEY,
  },
  region: process.env.TENCENTCLOUD_REGION,
  profile: {
    signMethod,
    httpProfile: {
      endpoint: process.env.TIW_ENDPOINT.split("//")[1],
      protocol: "http://",
      reqMethod,
      // Loopback, without a proxy of this machine.
      proxy: "",
    },
  },
});

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [action, parameters] = JSON.parse(line);
    let result;
    try {
      result = { answer: await client[action](parameters) };
    } catch (error) {
      result = { error: `${error.code}: ${error.message}` };
    }
    console.log(JSON.stringify(result));
  }
})();
